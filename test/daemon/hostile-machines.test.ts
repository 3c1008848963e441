import t from 'tap'
import { TestHost, type RunResult } from '../host/host.ts'
import { Client } from './client.ts'
import { HangingMount } from './hanging-mount.ts'
import { daemonPid, remembered } from './stress.ts'

// What root inside of containers does to the daemon that looks into them.

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
await Promise.all([
  host.startContainer('plain'),
  host.startContainer('veiled', ['-U']),
  host.startContainer('friend', ['-U'])
])
await host.writeFile('/root/secret', 'SECRET=secret\n')

/** Runs a script as root of a container, with its users and files. */
async function inside(name: string, script: string): Promise<void> {
  const enter = [
    'nsenter',
    '--all',
    '--root',
    '--wd',
    '--setuid=0',
    '--setgid=0',
    '--target',
    await client.leader(name)
  ]
  await host.run([...enter, 'sh', '-euc', script])
}

/** Runs a script on the files of a container, with the host's powers. */
async function atFilesOf(name: string, script: string): Promise<void> {
  await host.run(['nsenter', '--mount', '--root', '--target', await client.leader(name), 'sh', '-euc', script])
}

const osRelease = (name: string): Promise<RunResult> => client.call('GetMachineOSRelease', 's', name)

/** How many threads the daemon has, and how many descriptors of files and processes. Node has others for each thread. */
async function held(): Promise<{ threads: number; fds: number }> {
  const pid = await daemonPid(host)
  const script = 'ls "/proc/$0/task" | wc -l; ls -l "/proc/$0/fd" | grep -cE " -> (/|mnt:|.*pidfd)"'
  const [threads = NaN, fds = NaN] = (await client.output('sh', '-c', script, String(pid))).split('\n').map(Number)
  return { threads, fds }
}

/** Has both threads that the daemon keeps started and all remembered that can be, and gives what it holds then. */
async function heldAtRest(): Promise<{ threads: number; fds: number }> {
  const all = ['plain', 'veiled', 'friend']
  const open = (name: string): Promise<RunResult> => client.call('OpenMachineRootDirectory', 's', name)
  for (let turn = 0; turn < 3; turn++) await Promise.all(all.map(open))
  await host.waitFor(async () => {
    for (const name of all) await osRelease(name)
    return (await remembered(host)) === all.length
  }, 'the files to be remembered')
  return held()
}

const FILES: readonly { what: string; make: string; answer: RegExp }[] = [
  { what: 'a FIFO', make: 'mkfifo os-release', answer: /: Invalid argument$/ },
  { what: 'a link to another root', make: 'ln -s /proc/1/root/etc/shadow os-release', answer: /: Too many levels/ },
  { what: 'a link to itself', make: 'ln -s os-release os-release', answer: /: Too many levels of symbolic links$/ },
  { what: 'a directory', make: 'mkdir os-release', answer: /: Is a directory$/ },
  { what: 'a file of 10 GB', make: 'truncate -s 10G os-release', answer: /: File too large$/ },
  { what: 'garbage', make: 'head -c 900000 /dev/urandom >os-release', answer: /: Bad message$/ },
  { what: 'text with zeros', make: 'printf "A=1\\0\\nB=2\\n" >os-release', answer: /: Bad message$/ },
  { what: 'very many lines', make: 'seq -f "K%.0f=" 100000 | cat >os-release', answer: /^a\{ss\} 100000 / }
]

/** Only the host's root can make these in a user namespace. */
const DEVICES: readonly { what: string; make: string; answer: RegExp }[] = [
  { what: 'an endless device', make: 'mknod os-release c 1 5', answer: /: Invalid argument$/ },
  { what: 'a device that blocks', make: 'mknod os-release c 1 11', answer: /: Invalid argument$/ }
]

t.test('os-release is read from a regular file of the container only', async (t) => {
  const before = await heldAtRest()
  for (const name of ['plain', 'veiled']) {
    for (const [runner, files] of [[inside, FILES] as const, [atFilesOf, DEVICES] as const]) {
      for (const { what, make, answer } of files) {
        await runner(name, `cd /etc; rm -rf os-release; ${make}`)
        const { stdout, stderr } = await osRelease(name)
        t.match(stdout + stderr, answer, `${what} in ${name}`)
        t.notMatch(stdout + stderr, /root:|Internal error/)
      }
    }
    const usual = (await osRelease('friend')).stdout
    for (const target of ['/root/secret', '../../../../../../root/secret', '/proc/../root/secret']) {
      await inside(name, `cd /etc; rm -rf os-release; ln -s ${target} os-release`)
      t.equal((await osRelease(name)).stdout, usual, `what is no file in ${name}, but one of the host, is not there`)
    }
    await inside(name, 'cd /; rm /etc/os-release; mv etc was; ln -s /proc/1/root/etc etc')
    t.match((await osRelease(name)).stderr, /: Too many levels of symbolic links$/)
    await inside(name, 'cd /; rm etc; mv was etc; ln -s ../usr/lib/os-release /etc')
  }
  t.strictSame(await heldAtRest(), before)
})

t.test('a file system that never answers holds up its own container only', async (t) => {
  const before = await heldAtRest()
  await inside('plain', 'mkdir /srv/hang; ln -sf /srv/hang/os-release /etc')
  const mount = await HangingMount.start(host, await client.leader('plain'), '/srv/hang', 'directory')
  const calls = Array.from({ length: 20 }, () => osRelease('plain'))
  let over = false
  const results = Promise.all(calls).finally(() => (over = true))
  for (let turn = 0; turn < 20; turn++) t.match((await osRelease('friend')).stdout, 'ID')
  t.notOk(over, 'others were served meanwhile')
  const errors = (await results).map(({ stderr }) => stderr)
  t.equal(errors.filter((error) => error.endsWith(': Connection timed out')).length, 2)
  t.equal(errors.filter((error) => error.endsWith(': Device or resource busy')).length, 18)
  t.match((await osRelease('plain')).stderr, /: Device or resource busy$/)
  t.match((await client.call('OpenMachineRootDirectory', 's', 'plain')).stderr, /: Device or resource busy$/)
  t.match((await osRelease('friend')).stdout, 'ID')
  const meanwhile = await held()
  t.ok(meanwhile.threads <= before.threads + 2, 'two threads hang')

  await mount.abort()
  await inside('plain', 'ln -sf ../usr/lib/os-release /etc')
  await host.waitFor(async () => (await osRelease('plain')).exitCode === 0, 'the container to be served again')
  await heldAtRest()
  await host.waitFor(async () => (await held()).threads <= before.threads, 'the threads to be gone')
  t.strictSame(await held(), before)
})

/** A machine whose /etc never answers, made of a process with a mount namespace of its own. */
async function startHanging(name: string): Promise<HangingMount> {
  const own = ['unshare', '--mount', '--propagation', 'private', 'sleep', 'infinity']
  await host.run(['systemd-run', '-q', '--collect', `--unit=${name}`, ...own])
  const leader = await client.output('systemctl', 'show', '-P', 'MainPID', `${name}.service`)
  const isApart = async (): Promise<boolean> => {
    const [own, hosts] = await Promise.all([leader, '1'].map((pid) => client.output('readlink', `/proc/${pid}/ns/mnt`)))
    return own !== hosts
  }
  await host.waitFor(isApart, `${name} to have its own mounts`)
  t.equal((await client.register(name, leader)).stderr, '')
  return HangingMount.start(host, leader, '/etc', 'directory')
}

t.test('many machines that never answer hold up no other, and die while they are looked into', async (t) => {
  const before = await heldAtRest()
  const names = Array.from({ length: 6 }, (_, index) => `hanging${index}`)
  const mounts = await Promise.all(names.map(startHanging))
  const state = { over: false }
  const calls = [...names, ...names].map((name) => osRelease(name).finally(() => (state.over = true)))
  for (let turn = 0; turn < 10; turn++) t.match((await osRelease('friend')).stdout, 'ID')

  await host.run(['systemctl', 'kill', '--signal=KILL', 'hanging0.service'])
  await client.waitTillGone('hanging0')
  await client.register('hanging0', await client.startProcess('answering'))
  t.match((await osRelease('hanging0')).stdout, 'ID', 'another machine of the name')
  t.notOk(state.over, 'all of that while the others are waited for')

  for (const { stderr } of await Promise.all(calls)) t.match(stderr, /timed out$|busy$|No such process$/)
  const meanwhile = await held()
  t.ok(meanwhile.threads <= before.threads + 2 * names.length, `${meanwhile.threads} after ${before.threads} threads`)
  await Promise.all(mounts.map((mount) => mount.abort()))
  await host.run(['systemctl', 'kill', '--signal=KILL', 'answering.service', ...names.slice(1)])
  for (const name of names) await client.waitTillGone(name)
  await host.waitFor(async () => (await held()).threads <= before.threads, 'the threads to be gone')
  await heldAtRest()
  t.strictSame(await held(), before)
})

t.test('leaders whose root directory is another by now, or does not answer', async (t) => {
  const before = await heldAtRest()
  const script = `
    mount -t tmpfs new /mnt
    mkdir -p /mnt/etc /mnt/old /mnt/usr
    mount --bind /usr /mnt/usr
    (cd /mnt; ln -s usr/bin usr/lib usr/lib64 usr/sbin .)
    echo NAME=new >/mnt/etc/os-release
    sleep infinity &
    echo $! >/run/rooted
    read _
    pivot_root /mnt /mnt/old
    read _`
  const unit = ['systemd-run', '-q', '--pipe', '--unit=rooted']
  const owner = host.spawn([...unit, 'unshare', '--mount', '--propagation', 'private', 'sh', '-euc', script])
  t.teardown(() => owner.kill('SIGKILL'))
  await host.waitFor(
    async () => (await host.run(['test', '-s', '/run/rooted'], { reject: false })).exitCode === 0,
    'it'
  )
  const leader = await client.output('cat', '/run/rooted')
  await client.register('rooted', leader)
  const usual = (await osRelease('rooted')).stdout
  t.match(usual, 'ID')
  owner.stdin.write('\n')
  await host.waitFor(async () => (await osRelease('rooted')).stdout !== usual, 'the root to be another')
  t.equal((await osRelease('rooted')).stdout, 'a{ss} 1 "NAME" "new"')

  const mount = await HangingMount.start(host, leader, '/old/srv', 'directory')
  await host.run(['nsenter', '--mount', '--root', '--target', leader, 'pivot_root', '/old/srv', '/old/srv'])
  const calls = [osRelease('rooted'), client.call('OpenMachineRootDirectory', 's', 'rooted'), osRelease('rooted')]
  t.match((await osRelease('friend')).stdout, 'ID')
  const [first, second, third] = (await Promise.all(calls)).map(({ stderr }) => stderr)
  t.match([first, second].join('\n'), /timed out$[^]*timed out$|busy/m)
  t.match(third, /timed out$|busy$/)

  // The leader dies with calls under way.
  await host.run(['systemctl', 'kill', '--signal=KILL', 'rooted.service'])
  await client.waitTillGone('rooted')
  t.match((await osRelease('rooted')).stderr, /No machine 'rooted' known/)
  t.match((await osRelease('friend')).stdout, 'ID')
  await mount.abort()
  await heldAtRest()
  await host.waitFor(async () => (await held()).threads <= before.threads, 'the threads to be gone')
  t.strictSame(await held(), before)
})

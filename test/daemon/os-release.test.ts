import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { TestHost } from '../host/host.ts'
import { projectDirectory } from '../host/root.ts'
import { Client } from './client.ts'
import { daemonPid, openDescriptors, remembered } from './stress.ts'

// What the daemon remembers of os-release(5) is never told when it is not so any more. Files that are none are in
// hostile-machines.test.ts, what counts as a change in test/linux/sight.test.ts.

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)

const osRelease = async (name: string): Promise<string> => {
  const { stdout, stderr } = await client.call('GetMachineOSRelease', 's', name)
  return stdout + stderr
}

/** Asks for the file of the only machine there is until it is not read any more. */
async function untilRemembered(name: string): Promise<void> {
  await host.waitFor(async () => {
    await osRelease(name)
    return (await remembered(host)) === 1
  }, `the file of ${name} to be remembered`)
}

/** How often the daemon's threads, the first one apart, have gone to sleep. */
async function sleeps(): Promise<number> {
  const pid = String(await daemonPid(host))
  const script = 'cd /proc/$0/task; for thread in *; do [ $thread = $0 ] || cat $thread/status; done'
  const { stdout } = await host.run(['sh', '-c', script, pid])
  return Array.from(stdout.matchAll(/^voluntary_ctxt_switches:\s*(\d+)$/gm), ([, count]) => Number(count)).reduce(
    (sum, count) => sum + count
  )
}

/** Runs a script as root of a container. */
async function inside(name: string, script: string): Promise<void> {
  const target = ['--target', await client.leader(name)]
  await host.run(['nsenter', '--all', '--root', '--wd', '--setuid=0', '--setgid=0', ...target, 'sh', '-euc', script])
}

/** What is on another mount than the root directory is told, but not remembered. */
const CHANGES: readonly { script: string; id: string; isKept?: boolean }[] = [
  { script: 'echo ID=a >/usr/lib/os-release', id: 'a' },
  { script: 'echo ID=b >/usr/lib/os-release', id: 'b' },
  { script: 'echo ID=c >/run/file; mount --bind /run/file /usr/lib/os-release', id: 'c', isKept: false },
  { script: 'umount /usr/lib/os-release', id: 'b' },
  { script: 'mount -t tmpfs over /etc; echo ID=d >/etc/os-release', id: 'd', isKept: false },
  { script: 'umount /etc', id: 'b' },
  { script: 'rm /etc/os-release; echo ID=e >/etc/os-release', id: 'e' },
  {
    script: 'mkdir -p /new/lib; echo ID=f >/new/lib/os-release; rm /etc/os-release; mount --bind /new /usr',
    id: 'f',
    isKept: false
  }
]

async function startContainer(t: Test, name: string, options = ['-U']): Promise<void> {
  await host.startContainer(name, options)
  t.teardown(async () => {
    await host.run(['machinectl', 'kill', '--signal=KILL', name])
    await client.waitTillGone(name)
  })
}

const KINDS = [
  { what: 'with users of its own', name: 'veiled', options: ['-U'] },
  { what: 'with those of the host', name: 'plain', options: [] }
]

for (const { what, name, options } of KINDS) {
  t.test(`a file that is what it was is not read again, and no thread is asked: a container ${what}`, async (t) => {
    await startContainer(t, name, options)
    const first = await osRelease(name)
    await host.waitFor(async () => {
      const before = await sleeps()
      for (let turn = 0; turn < 30; turn++) t.equal(await osRelease(name), first)
      return (await sleeps()) < before + 30
    }, 'calls that no thread is asked for')
  })

  t.test(`whatever changes is told at once: a container ${what}`, async (t) => {
    await startContainer(t, name, options)
    t.match(await osRelease(name), 'PRETTY_NAME')
    for (const { script, id, isKept = true } of CHANGES) {
      await inside(name, script)
      t.equal(await osRelease(name), `a{ss} 1 "ID" "${id}"`, script)
      if (isKept) await untilRemembered(name)
    }
  })
}

/** Runs the lines of Python that it reads, in namespaces of its own, and says when each is done. */
const obedient = `
import ctypes, os, sys
libc = ctypes.CDLL(None)
def mount(at, id):
    assert libc.mount(b'none', at.encode(), b'tmpfs', 0, None) == 0
    for name in 'etc', 'next', 'old': os.mkdir(f'{at}/{name}')
    open(f'{at}/etc/os-release', 'w').write(f'ID={id}')
mount('/srv', 'a')
print('ready', flush=True)
for line in sys.stdin:
    exec(line)
    print('done', flush=True)`

const STEPS: readonly { what: string; step: string; id: string }[] = [
  { what: 'is chrooted', step: 'os.chroot("/srv")', id: 'a' },
  { what: 'has pivoted its root', step: 'mount("/next", "c"); libc.pivot_root(b"/next", b"/next/old")', id: 'c' },
  {
    what: 'has mounts of its own',
    step: 'libc.unshare(0x20000); mount("/etc", ""); os.rename("/etc/etc/os-release", "/etc/os-release")',
    id: ''
  }
]

t.test('a leader that goes somewhere else has another file', async (t) => {
  const unit = ['systemd-run', '-q', '--pipe', '--collect', '--unit=wandering']
  const apart = ['unshare', '--user', '--map-root-user', '--mount', 'python3', '-c', obedient]
  const leader = host.spawn([...unit, ...apart])
  t.teardown(() => leader.kill('SIGKILL'))
  const lines = createInterface(leader.stdout)[Symbol.asyncIterator]()
  t.equal((await lines.next()).value, 'ready')
  const pid = await client.output('systemctl', 'show', '-P', 'MainPID', 'wandering.service')
  t.equal((await client.register('wandering', pid)).stderr, '')
  t.match(await osRelease('wandering'), 'PRETTY_NAME')
  for (const { what, step, id } of STEPS) {
    // Before each, as what is read next has to be a change of what is remembered.
    await untilRemembered('wandering')
    leader.stdin.write(`${step}\n`)
    t.equal((await lines.next()).value, 'done')
    t.equal(await osRelease('wandering'), `a{ss} 1 "ID" "${id}"`, what)
  }
})

t.test('a file system that stops to answer below an overlay holds up nobody', async (t) => {
  await host.writeFile('/root/fuse.py', readFileSync(join(projectDirectory(), 'test/daemon/fuse-machine.py'), 'utf8'))
  await host.run(['mkdir', '/run/fuse', '/run/overlay'])
  const apart = ['unshare', '--user', '--map-root-user', '--mount', 'python3', '/root/fuse.py']
  const unit = ['systemd-run', '-q', '--pipe', '--collect', '--unit=layered']
  const leader = host.spawn([...unit, ...apart, '/run/fuse', 'rw', '/run/overlay'])
  t.teardown(async () => {
    await host.run(['systemctl', 'kill', '--signal=KILL', 'layered.service'])
    await client.waitTillGone('layered')
  })
  await once(leader.stdout, 'data')
  const pid = await client.output('systemctl', 'show', '-P', 'MainPID', 'layered.service')
  t.equal((await client.register('layered', pid)).stderr, '')
  await untilRemembered('layered')
  await host.run(['sh', '-c', 'kill -STOP $(cat /proc/$0/task/$0/children)', pid])
  for (let turn = 0; turn < 3; turn++) t.equal(await osRelease('layered'), 'a{ss} 1 "ID" "fuse"')
})

t.test('nothing is held of machines that are gone', async (t) => {
  await osRelease('.host')
  const before = await openDescriptors(host)
  await host.startContainer('short', ['-U'])
  await untilRemembered('short')
  await host.run(['machinectl', 'terminate', 'short'])
  await client.waitTillGone('short')
  await host.waitFor(async () => (await openDescriptors(host)) <= before, 'the descriptors to be closed')
  t.equal(await remembered(host), 0)
})

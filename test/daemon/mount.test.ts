import t from 'tap'
import { TestHost, type RunOptions, type RunResult } from '../host/host.ts'
import { Client } from './client.ts'

const UNIT = 'systemd-machined.service'
const POINT = '/run/machine'
const NOTHING = { stdout: '', stderr: '', exitCode: 0 }

/** Becomes the leader of a machine whose root is full of traps: links, a file, and file systems that never answer. */
const HOSTILE = `
mount -t tmpfs hostile /run/hostile
cd /run/hostile
mkdir etc srv sys below
ln -s /run/machine run
ln -s ../../../../etc proc
: >dev
exec 3<>/dev/fuse 4<>/dev/fuse
mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 silent srv
mount -i -t fuse -o fd=4,rootmode=40000,user_id=0,group_id=0 silent sys
mount --bind /etc below
exec python3 -c 'import os, time; os.chroot("."); time.sleep(3600)'
`

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
await host.startContainer('c1')
await host.startContainer('veiled', ['-U'])

/** Runs what people type. */
function run(...argv: string[]): Promise<RunResult> {
  return host.run(argv, { reject: false })
}

/** Runs a shell script in a container, as its root. */
async function inside(name: string, script: string): Promise<string> {
  const namespaces = ['--mount', '--pid', '--root', '--wd', ...(name === 'veiled' ? ['--user'] : [])]
  return client.output('nsenter', `--target=${await client.leader(name)}`, ...namespaces, 'sh', '-euc', script)
}

/** Mount points below that of a machine, with their options. */
async function mountsOf(name: string): Promise<string[]> {
  const text = await host.readFile('/proc/self/mountinfo')
  const fields = text.split('\n').map((line) => line.split(' '))
  return fields.flatMap(([, , , , path = '', options = '', tag = '']) =>
    `${path}/`.startsWith(`${POINT}/${name}/`) ? [`${path} ${options} ${tag}`] : []
  )
}

async function isGone(name: string): Promise<boolean> {
  return (await mountsOf(name)).length === 0 && (await client.output('ls', POINT)) === ''
}

t.test('mount prints the mount point, umount takes it away', async (t) => {
  await inside(
    'c1',
    'echo found >/etc/token; mkdir -p /srv/sub; mount -t tmpfs sub /srv/sub; echo there >/srv/sub/file'
  )
  t.match(await run('machinectl', 'mount', 'c1'), { ...NOTHING, stdout: `Mount point: ${POINT}/c1` })
  t.equal(await client.output('cat', `${POINT}/c1/etc/token`), 'found')
  t.equal(await client.output('cat', `${POINT}/c1/srv/sub/file`), 'there', 'with what is mounted in there')
  for (const name of ['proc', 'sys', 'dev']) t.equal(await client.output('ls', '-A', `${POINT}/c1/${name}`), '', name)
  for (const line of await mountsOf('c1')) t.match(line, / (rw|ro),nosuid,nodev\S* -$/, 'private, and no danger')
  t.equal(await client.output('stat', '-c', '%a', POINT), '700', 'for root only')
  await host.run(['sh', '-c', `echo from-host >${POINT}/c1/etc/token`])
  t.equal(await inside('c1', 'cat /etc/token'), 'from-host')

  t.match(
    await run('machinedctl', 'mount', 'c1'),
    { stdout: `Mount point: ${POINT}/c1`, exitCode: 0 },
    'the same again'
  )
  t.match(await run('machinectl', 'umount', 'c1'), NOTHING)
  t.ok(await isGone('c1'))
  t.equal(await inside('c1', 'cat /srv/sub/file; ls /proc/1/comm'), 'there\n/proc/1/comm', 'nothing changed in there')
})

t.test('the root of a container with users of its own, read-only, with all', async (t) => {
  t.match(await run('machinectl', '--recursive', 'mount', 'veiled', '--read-only'), {
    ...NOTHING,
    stdout: `Mount point: ${POINT}/veiled`
  })
  const [shift] = /\d+/.exec((await client.call('GetMachineUIDShift', 's', 'veiled')).stdout) ?? []
  t.equal(await client.output('stat', '-c', '%u', `${POINT}/veiled/etc`), shift, 'files belong to whom the host sees')
  t.equal(await client.output('cat', `${POINT}/veiled/proc/1/comm`), 'systemd')
  t.match((await run('touch', `${POINT}/veiled/etc/x`)).stderr, /Read-only file system$/)
  t.match((await run('touch', `${POINT}/veiled/run/x`)).stderr, /Read-only file system$/)
  t.match(await run('machinectl', 'umount', 'veiled'), NOTHING)

  t.match(await run('machinectl', 'mount', 'veiled'), { exitCode: 0 })
  for (const name of ['proc', 'sys', 'dev'])
    t.equal(await client.output('ls', '-A', `${POINT}/veiled/${name}`), '', name)
  t.match(await run('machinectl', 'mount', 'veiled', '--read-only'), {
    stderr: "Failed to mount: 'veiled' is mounted already, and not read-only.",
    exitCode: 1
  })
  t.match(await run('machinectl', 'mount', 'c1'), { exitCode: 0 })
  t.match(await run('machinectl', 'umount', 'veiled', 'c1'), NOTHING)
  t.ok(await isGone(''))
})

t.test('a mount in use stays, and it is said by whom; unless lazily', async (t) => {
  await run('machinectl', 'mount', 'c1')
  const holders = ['cd "$0/etc"; exec sleep 1001', 'exec sleep 1002 <"$0/srv/sub/file"']
  const processes = holders.map((script) => host.spawn(['sh', '-c', script, `${POINT}/c1`]))
  const pidOf = async (seconds: string): Promise<string> => (await run('pgrep', '-xf', `sleep ${seconds}`)).stdout
  for (const seconds of ['1001', '1002']) {
    await host.waitFor(async () => /^\d+$/.test(await pidOf(seconds)), `the one that sleeps ${seconds} s`)
  }
  const [inDirectory, withFile] = [await pidOf('1001'), await pidOf('1002')]
  const { stderr, exitCode } = await run('machinectl', 'umount', 'c1')
  t.match(stderr, /^Failed to unmount: \/run\/machine\/c1 is in use by .*: Device or resource busy$/)
  for (const pid of [inDirectory, withFile]) t.match(stderr, `sleep (PID ${pid})`)
  t.notMatch(stderr, /systemd/, 'what runs in the machine is not meant')
  t.equal(exitCode, 1)
  t.equal(await client.output('ls', `${POINT}/c1/srv`), 'sub')
  t.match(await run('machinectl', 'umount', 'c1', '--lazy'), NOTHING)
  t.ok(await isGone('c1'))
  t.equal(await client.output('cat', `/proc/${inDirectory}/cwd/token`), 'from-host', 'who has it keeps it')
  t.equal(await client.output('cat', `/proc/${withFile}/fd/0`), 'there')
  for (const process of processes) process.kill()
})

t.test('a restarted daemon knows what is mounted, and what must go', async (t) => {
  for (const name of ['c1', 'veiled']) await run('machinectl', 'mount', name)
  await host.run(['systemctl', 'restart', UNIT])
  const list = (await run('machinectl', 'mounts', '--no-legend')).stdout.split('\n').sort()
  t.strictSame(list, [`c1     ${POINT}/c1     no`, `veiled ${POINT}/veiled no`])
  t.match(await run('machinectl', 'mount', 'c1'), { stdout: `Mount point: ${POINT}/c1` })
  t.match(await run('machinectl', 'umount', 'veiled'), NOTHING)

  await host.startContainer('brief')
  t.match(await run('machinectl', 'mount', 'brief'), { exitCode: 0 })
  const leader = await client.leader('brief')
  await host.run(['systemctl', 'stop', UNIT])
  await host.run(['kill', '-9', leader])
  await host.waitFor(
    async () => (await run('systemctl', 'is-active', 'test-container-brief')).exitCode !== 0,
    'it to end'
  )
  // It may run again already, since systemd-nspawn has told it of the end.
  await host.run(['systemctl', 'start', UNIT])
  await host.waitFor(async () => (await mountsOf('brief')).length === 0, 'what is left of it to go')
  t.equal(await client.output('ls', POINT), 'c1')
})

t.test('a mount goes with its machine', async (t) => {
  await host.startContainer('ended')
  await run('machinectl', 'mount', 'ended')
  t.not((await mountsOf('ended')).length, 0)
  await host.run(['machinectl', 'terminate', 'ended'])
  await client.waitTillGone('ended')
  await host.waitFor(async () => (await mountsOf('ended')).length === 0, 'the mount to go')
  await host.waitFor(async () => (await client.output('ls', POINT)) === 'c1', 'its directory to go')
})

t.test('a hostile machine leads nowhere and holds nobody up', async (t) => {
  await host.run(['mkdir', '/run/hostile'])
  await host.run(['systemd-run', '-q', '--collect', '--unit=hostile', 'unshare', '--mount', 'sh', '-euc', HOSTILE])
  const pid = await client.output('systemctl', 'show', '-P', 'MainPID', 'hostile.service')
  await host.waitFor(
    async () => (await run('test', '-L', `/proc/${pid}/root/run`)).exitCode === 0,
    'its traps to be laid'
  )
  t.equal((await client.register('hostile', pid)).stderr, '')
  const outside = async (): Promise<string> =>
    client.output('sh', '-c', "grep -v ' /run/machine/hostile' /proc/self/mountinfo; ls /etc /run/machine/c1")
  const before = await outside()

  t.match(await run('timeout', '10', 'machinectl', 'mount', 'hostile'), { stdout: `Mount point: ${POINT}/hostile` })
  t.equal(await outside(), before, 'nothing is mounted elsewhere')
  t.equal(await client.output('readlink', `${POINT}/hostile/proc`), '../../../../etc', 'links are shown, not followed')
  t.equal(
    await client.output('timeout', '10', 'ls', '-A', `${POINT}/hostile/sys`),
    '',
    'what does not answer is covered'
  )
  t.match(await run('timeout', '10', 'machinectl', 'umount', 'hostile'), NOTHING)
  t.strictSame(await mountsOf('hostile'), [])

  await run('machinectl', 'mount', 'hostile')
  await host.run(['systemctl', 'kill', '--signal=SIGKILL', 'hostile'])
  await host.waitFor(async () => (await mountsOf('hostile')).length === 0, 'the mount to go with it')
  t.match(await run('machinectl', 'umount', 'c1'), NOTHING)
})

t.test('what cannot be mounted', async (t) => {
  const vm = ['vm', '0', 'test', 'vm', await client.startProcess('vm'), '/']
  await client.call('RegisterMachine', 'sayssus', ...vm)
  const refusals: readonly (readonly [words: string, stderr: string])[] = [
    ['mount vm', 'Failed to mount: Mounting the root directory is only supported on container machines.'],
    ['mount .host', 'Failed to mount: Mounting the root directory is only supported on container machines.'],
    ['mount none', "Failed to mount: No machine or image 'none' known"],
    ['mount ../c1', "Failed to mount: No machine or image '../c1' known"],
    ['umount c1', "Failed to unmount: 'c1' is not mounted."],
    ['umount ../../sys', "Failed to unmount: '../../sys' is not mounted."],
    ['mount', 'Too few arguments.'],
    ['mount c1 c2', 'Too many arguments.'],
    ['mounts --nope', "machinedctl: unrecognized option '--nope'"]
  ]
  for (const [words, stderr] of refusals) {
    t.match(await run('machinectl', ...words.split(' ')), { stdout: '', stderr, exitCode: 1 }, words)
  }
  t.match(await run('machinedctl', 'nope'), { stderr: "Unknown command verb 'nope'.", exitCode: 1 })
  t.match(await run('machinedctl'), {
    stderr: 'Command verb required (one of mount, umount, mounts, network).',
    exitCode: 1
  })
  t.equal(await client.output('ls', '-A', POINT), '.#empty\n.#leaders')
})

t.test('mounting is for polkit to allow', async (t) => {
  const user: RunOptions = { user: 'nobody', reject: false }
  const { stderr, exitCode } = await host.run(['machinectl', 'mount', 'c1', '--no-ask-password'], user)
  t.match(stderr, /^Failed to mount: Access denied as the requested operation requires interactive authentication/)
  t.equal(exitCode, 1)
  t.match((await host.run(['machinectl', 'umount', 'c1'], user)).stderr, /^Failed to unmount: Access denied as/)
  t.match(await host.run(['machinectl', 'mounts'], user), { stdout: 'No mounts.', exitCode: 0 })

  const rule = `polkit.addRule(function (action, subject) {
    if (action.id != "org.freedesktop.machine1.mount-machine" || subject.user != "nobody") return polkit.Result.NOT_HANDLED
    return action.lookup("machine") == "c1" ? polkit.Result.YES : polkit.Result.NO
  })\n`
  await host.writeFile('/etc/polkit-1/rules.d/10-test.rules', rule)
  await host.run(['systemctl', 'restart', 'polkit'])
  t.match(await host.run(['machinectl', 'mount', 'c1'], user), { stdout: `Mount point: ${POINT}/c1` })
  t.match((await host.run(['machinectl', 'mount', 'veiled'], user)).stderr, 'Failed to mount: Permission denied')
  t.match((await host.run(['ls', `${POINT}/c1`], user)).stderr, /Permission denied/, 'but only root walks in')
  t.match(await host.run(['machinectl', 'umount', 'c1'], user), NOTHING)
})

t.test('forms of output, and what goes to the stock machinectl', async (t) => {
  t.match(await run('machinectl', 'mount', 'c1', '--json=short'), { stdout: `{"mount_point":"${POINT}/c1"}` })
  t.match(await run('machinedctl', 'mounts'), {
    stdout: `NAME MOUNT POINT     READ-ONLY\nc1   ${POINT}/c1 no\n\n1 mounts listed.`
  })
  t.strictSame(JSON.parse((await run('machinedctl', '--json=pretty', 'mounts')).stdout), [
    { name: 'c1', mount_point: `${POINT}/c1`, read_only: false }
  ])
  await run('machinectl', '--no-pager', 'umount', 'c1')

  t.match(await run('machinectl', 'list', '--no-legend'), { stdout: /^c1 +container/m, exitCode: 0 })
  t.match(await run('machinectl'), { stdout: /^MACHINE/ })
  t.match(await run('machinectl', '-p', 'Name', 'show', 'c1'), { stdout: 'Name=c1' })
  t.match(
    await run('machinectl', '-p', 'mount', 'show', 'c1'),
    { stderr: '', stdout: '' },
    'no verb is mistaken for one'
  )
  t.match(await run('machinectl', '--version'), { stdout: /^systemd \d+/ })
  t.match(await run('machinectl', 'nope'), { stderr: /^Unknown command verb '?nope/, exitCode: 1 })
})

t.test('completion in bash', async (t) => {
  /** What bash offers for the last word. */
  async function offers(command: string, ...words: string[]): Promise<string[]> {
    const script = `
      . "/usr/local/share/bash-completion/completions/$1"
      compopt() { :; }
      # What the stock function needs of the package bash-completion.
      _init_completion() { words=("\${COMP_WORDS[@]}") cword=$COMP_CWORD; }
      COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
      "$(complete -p "$1" | sed 's/.*-F \\(\\S*\\).*/\\1/')"
      printf '%s\\n' "\${COMPREPLY[@]}"`
    return (await client.output('bash', '-c', script, 'bash', command, ...words)).split('\n').sort()
  }
  t.strictSame(await offers('machinedctl', 'm'), ['mount', 'mounts'])
  t.strictSame(await offers('machinedctl', 'mount', 'v'), ['veiled', 'vm'])
  t.strictSame(await offers('machinedctl', 'umount', ''), [''])
  t.strictSame(await offers('machinedctl', '--la'), ['--lazy'])
  t.strictSame(await offers('machinedctl', '--json', '=', 'p'), ['pretty'])
  t.strictSame(await offers('machinectl', 'mount', 'c'), ['c1'])
  t.strictSame(await offers('machinectl', 'umo'), ['umount'])
  const verbs = await offers('machinectl', '')
  for (const verb of ['mounts', 'shell', 'terminate']) t.ok(verbs.includes(verb), verb)
})

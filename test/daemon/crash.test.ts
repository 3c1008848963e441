import t from 'tap'
import { TestHost, type RunResult } from '../host/host.ts'

// The daemon ends at any moment, state files are damaged, processes die amid their registration (issue 2).

const NAME = 'org.freedesktop.machine1'
const PATH = '/org/freedesktop/machine1'
const UNIT = 'systemd-machined.service'
const STATE = '/run/systemd/machines'
const KILLS = 20

const host = await TestHost.start()
t.teardown(() => host.stop())
// However often this test kills it, it shall come back.
await host.writeFile(`/run/systemd/system/${UNIT}.d/test.conf`, '[Unit]\nStartLimitIntervalSec=0\n')
await host.run(['systemctl', 'daemon-reload'])

function call(member: string, ...args: string[]): Promise<RunResult> {
  return host.run(['busctl', 'call', NAME, PATH, `${NAME}.Manager`, member, ...args], { reject: false })
}

function register(name: string, leader: string): Promise<RunResult> {
  return call('RegisterMachine', 'sayssus', name, '0', 'test', 'container', leader, '/')
}

/** A process in a unit of its own; returns its PID. */
async function startProcess(unit: string): Promise<string> {
  await host.run(['systemd-run', '-q', '--collect', '--service-type=exec', `--unit=${unit}`, 'sleep', 'infinity'])
  return (await host.run(['systemctl', 'show', '-P', 'MainPID', `${unit}.service`])).stdout
}

/** Names of all machines but the host. */
async function machines(): Promise<string[]> {
  let stdout = ''
  const isListed = async (): Promise<boolean> => {
    const answer = await call('ListMachines')
    stdout = answer.stdout
    return answer.exitCode === 0
  }
  await host.waitFor(isListed, 'the daemon to answer')
  return Array.from(stdout.matchAll(/"([^"]+)" "(?:container|vm)"/g), ([, name = '']) => name).sort()
}

async function stateFiles(): Promise<string[]> {
  const { stdout } = await host.run(['ls', '-A', STATE])
  return stdout === '' ? [] : stdout.split('\n').sort()
}

/** Starts the daemon anew, so that it reads the state files that are there. */
async function restartDaemon(): Promise<void> {
  await host.run(['systemctl', 'restart', UNIT])
}

t.test(`a daemon killed ${KILLS} times while machines come and go loses none and invents none`, async (t) => {
  // Of each round one machine stays and one goes; the daemon is killed amid all that, wherever it happens to be.
  const stay: string[] = []
  for (let round = 0; round < KILLS; round++) {
    const [stays, goes] = [`stay-${round}`, `go-${round}`]
    const leaders = await Promise.all([startProcess(stays), startProcess(goes)])
    const kill = host.run(['systemctl', 'kill', '--signal=KILL', UNIT], { reject: false })
    const answers = await Promise.all([register(stays, leaders[0]), register(goes, leaders[1]), kill])
    if (answers[0].exitCode === 0) stay.push(stays)
    // A client whose call was cut short cannot know, so it asks again: whatever had happened, this succeeds.
    else if ((await register(stays, leaders[0])).exitCode === 0) stay.push(stays)
    await Promise.all([
      host.run(['systemctl', 'stop', `${goes}.service`]),
      host.run(['systemctl', 'kill', '--signal=KILL', UNIT], { reject: false })
    ])
  }
  t.equal(stay.length, KILLS)
  await host.waitFor(async () => (await machines()).length <= KILLS, 'the machines that ended to be gone')
  t.strictSame(await machines(), stay.sort())
  t.strictSame(await stateFiles(), [...stay, ...stay.map((name) => `unit:${name}.service`)].sort())
  await host.run(['systemctl', 'stop', ...stay.map((name) => `${name}.service`)])
  await host.waitFor(async () => (await stateFiles()).length === 0, 'all machines to be gone')
})

t.test('a service that was restarted while the daemon was away is left alone', async (t) => {
  await register('anew', await startProcess('anew'))
  await host.run(['systemctl', 'stop', UNIT])
  await host.run(['systemctl', 'stop', 'anew.service'])
  const leader = await startProcess('anew')
  await restartDaemon()
  t.equal((await register('anew', leader)).stderr, '')
  t.equal((await host.run(['systemctl', 'show', '-P', 'MainPID', 'anew.service'])).stdout, leader)
  await host.run(['systemctl', 'stop', 'anew.service'])
  await host.waitFor(async () => (await stateFiles()).length === 0, 'the machine to be gone')
})

t.test('unreadable state files spoil no others, and their names can be used', async (t) => {
  const leader = await startProcess('sound')
  await register('sound', leader)
  const sound = await host.readFile(`${STATE}/sound`)
  await host.run(['systemctl', 'stop', UNIT])
  await host.writeFile(`${STATE}/garbage`, '\0\x01\xff"\\\n=\n'.repeat(100))
  await host.writeFile(`${STATE}/other`, sound)
  await host.writeFile(`${STATE}/truncated`, sound.replace('NAME=sound', 'NAME=truncated').slice(0, 50))
  await host.writeFile(`${STATE}/host`, sound.replace('NAME=sound', 'NAME=host').replace('container', 'host'))
  await host.writeFile(`${STATE}/.#sound0123456789abcdef`, 'NAME=sou')
  const script = `
    cd ${STATE}
    mkdir directory
    mkfifo fifo
    { echo NAME=huge; head -c 10000000 /dev/zero | tr '\\0' x; } >huge
    ln -s /dev/zero device
    : >empty`
  await host.run(['sh', '-ec', script])
  await restartDaemon()
  const known = await machines()
  t.ok(known.includes('sound'))
  for (const name of ['garbage', 'other', 'host', 'directory', 'fifo', 'huge', 'device', 'empty']) {
    t.notOk(known.includes(name), name)
  }
  t.notOk(
    (await stateFiles()).some((name) => name.startsWith('.#')),
    'what a cut write left is taken away'
  )
  for (const name of ['fifo', 'huge', 'directory', 'empty']) {
    const unit = `new-${name}`
    t.equal((await register(name, await startProcess(unit))).stderr, '', name)
    t.equal((await call('UnregisterMachine', 's', name)).exitCode, 0, name)
    t.notOk((await machines()).includes(name), name)
  }
  await call('UnregisterMachine', 's', 'sound')
  await host.run(['sh', '-c', `rm -rf ${STATE}/*`])
  await restartDaemon()
})

t.test('state files of older versions load', async (t) => {
  const [v252, v257] = await Promise.all([startProcess('v252'), startProcess('v257')])
  await host.run(['systemctl', 'stop', UNIT])
  const times = 'REALTIME=1700000000000000\nMONOTONIC=123456789\n'
  await host.writeFile(
    `${STATE}/old-252`,
    `# This is private data. Do not parse.
NAME=old-252
SCOPE=v252.service
SERVICE=my\\x20service
ROOT=/var/lib/machines/with\\x20blank
ID=0123456789abcdef0123456789abcdef
LEADER=${v252}
CLASS=vm
${times}NETIF=5 7
`
  )
  await host.writeFile(
    `${STATE}/old-257`,
    `# This is private data. Do not parse.
NAME=old-257
SCOPE=v257.service
SERVICE="libvirt qemu"
ROOT="/a \\"b\\" \\$c"
ID=0123456789abcdef0123456789abcdef
LEADER=${v257}
CLASS=container
${times}NETIF=" 5 7"
VSOCK_CID=4294967295
`
  )
  await restartDaemon()
  const shown = async (name: string, ...properties: string[]): Promise<string> =>
    (await host.run(['busctl', 'get-property', NAME, `${PATH}/machine/${name}`, `${NAME}.Machine`, ...properties]))
      .stdout
  const wanted = ['Service', 'RootDirectory', 'Class', 'NetworkInterfaces', 'Leader', 'Timestamp', 'Unit', 'UID']
  const common = ['ai 2 5 7', 't 1700000000000000']
  t.strictSame(
    (await shown('old_2d252', ...wanted)).split('\n'),
    ['s "my service"', 's "/var/lib/machines/with blank"', 's "vm"', common[0], `u ${v252}`, common[1]].concat([
      's "v252.service"',
      'u 0'
    ])
  )
  t.strictSame(
    (await shown('old_2d257', ...wanted)).split('\n'),
    ['s "libvirt qemu"', 's "/a \\"b\\" $c"', 's "container"', common[0], `u ${v257}`, common[1]].concat([
      's "v257.service"',
      'u 0'
    ])
  )
  await host.run(['systemctl', 'stop', 'v252.service', 'v257.service'])
  await host.waitFor(async () => (await stateFiles()).length === 0, 'the machines to be gone')
})

t.test('a leader that dies before its scope is there leaves nothing behind', async (t) => {
  for (let round = 0; round < 10; round++) {
    const leader = await startProcess('short')
    const created = call('CreateMachine', 'sayssusa(sv)', 'short', '0', 'test', 'container', leader, '', '0')
    await Promise.all([created, host.run(['systemctl', 'kill', '--signal=KILL', 'short.service'])])
    await host.waitFor(async () => (await stateFiles()).length === 0, 'the machine to be gone')
  }
  t.strictSame(await machines(), [])
  t.equal((await host.run(['systemctl', 'list-units', '--all', '--no-legend', 'machine-*.scope'])).stdout, '')
})

t.test('a scope that PID 1 refuses leaves nothing behind', async (t) => {
  const leader = await startProcess('refused')
  for (const property of [
    ['Nonsense', 's', 'x'],
    ['TasksMax', 's', 'x'],
    ['Slice', 's', 'no slice']
  ]) {
    const args = ['refused', '0', 'test', 'container', leader, '', '1', ...property]
    const { exitCode } = await call('CreateMachine', 'sayssusa(sv)', ...args)
    t.not(exitCode, 0, property.join(' '))
  }
  t.strictSame(await machines(), [])
  t.strictSame(await stateFiles(), [])
  t.equal((await host.run(['systemctl', 'is-active', 'refused.service'])).stdout, 'active')
  t.equal((await register('refused', leader)).stderr, '', 'its leader can be registered at once')
  await call('UnregisterMachine', 's', 'refused')
})

t.test("a registration that fails does not touch the caller's unit or the machine that has it", async (t) => {
  const leader = await startProcess('shared')
  await register('first', leader)
  t.match((await register('second', leader)).stderr, 'File exists')
  t.match((await call('RegisterMachine', 'sayssus', 'third', '0', 'test', '', leader, '/')).stderr, 'class')
  t.equal((await host.run(['systemctl', 'is-active', 'shared.service'])).stdout, 'active')
  t.equal((await host.run(['readlink', `${STATE}/unit:shared.service`])).stdout, 'first')
  t.strictSame(await machines(), ['first'])
})

import t from 'tap'
import { TestHost } from '../host/host.ts'
import { User } from './user-client.ts'

const NAME = 'org.freedesktop.machine1'
const PATH = '/org/freedesktop/machine1'
const UNIT = 'systemd-machined.service'
const DROP_IN = `/etc/systemd/user/${UNIT}.d/test.conf`

const host = await TestHost.start({ root: 'testing' })
t.teardown(() => host.stop())
// The bus of a user is for that user alone; with this, what the daemon itself does about others can be seen.
await host.writeFile(
  '/etc/dbus-1/session-local.conf',
  '<busconfig><policy context="default"><allow user="*"/></policy></busconfig>\n'
)
const alice = await User.create(host, 'alice')
const bob = await User.create(host, 'bob')

/** Calls a method on alice's bus as somebody else. */
function callAsRoot(member: string, ...args: string[]): ReturnType<TestHost['run']> {
  const address = `--address=unix:path=${alice.runtime}/bus`
  return host.run(['busctl', address, 'call', NAME, PATH, `${NAME}.Manager`, member, ...args], { reject: false })
}

t.test('a call on the bus of a user starts that user a daemon of its own', async (t) => {
  for (const user of [alice, bob]) await user.keepDaemonUnit()
  // Bob's has nothing to do from now on; the last test looks when it went.
  t.equal((await bob.call('ListMachines')).stdout, 'a(ssso) 0')
  t.equal((await alice.try('machinectl', '--user', 'list')).stdout, 'No machines.')
  t.equal(await alice.daemon('FragmentPath'), `/usr/local/lib/systemd/user/${UNIT}`)
  t.equal(await alice.daemon('StatusText'), 'Processing requests...')
  t.match(await host.readFile(`/proc/${await alice.daemon('MainPID')}/status`), `\nUid:\t${alice.uid}\t`)
  t.equal(await alice.output('systemctl', '--user', 'is-active', 'machine.slice'), 'active')
  t.match((await host.run(['machinectl', 'list'])).stdout, /^No machines|\.host/, 'the daemon of the system goes on')
})

t.test('a user registers a process in a unit of its own', async (t) => {
  const leader = await alice.startProcess('box', 'setsid -f sleep 1000; exec sleep infinity')
  t.equal((await alice.register('box', leader)).stdout, `o "${PATH}/machine/box"`)
  t.equal(await alice.property('box', 'Unit'), 's "box.service"')
  t.equal(await alice.property('box', 'Subgroup'), 's ""')
  t.equal(await alice.property('box', 'UID'), `u ${alice.uid}`)
  t.match(await alice.output('machinectl', '--user', 'list'), /^box +container test/m)
  t.notMatch((await host.run(['machinectl', 'list'])).stdout, 'box', 'the system knows nothing of it')

  const directory = `${alice.runtime}/systemd/machines`
  const state = await host.readFile(`${directory}/box`)
  t.match(state, new RegExp(`^NAME=box\nUID=${alice.uid}\nSCOPE=box\\.service\nSERVICE=test\n`, 'm'))
  t.equal((await host.run(['readlink', `${directory}/unit:box.service`])).stdout, 'box')
  t.equal((await host.run(['stat', '-c', '%U %a', directory, `${directory}/box`])).stdout, 'alice 755\nalice 644')

  await t.test('which is found by each process in it', async (t) => {
    const group = await alice.output('systemctl', '--user', 'show', '-P', 'ControlGroup', 'box.service')
    const pids = (await host.readFile(`/sys/fs/cgroup${group}/cgroup.procs`)).trim().split('\n')
    t.equal(pids.length, 2)
    for (const pid of pids) t.equal((await alice.call('GetMachineByPID', 'u', pid)).stdout, `o "${PATH}/machine/box"`)
    t.match((await alice.call('GetMachineByPID', 'u', '0')).stderr, 'PID 0 does not belong to any known machine')
  })

  await t.test('which outlives the daemon', async (t) => {
    const timestamp = await alice.property('box', 'Timestamp')
    await alice.output('systemctl', '--user', 'restart', UNIT)
    t.equal(await alice.property('box', 'Timestamp'), timestamp)
    await alice.output('systemctl', '--user', 'kill', '--signal=KILL', UNIT)
    await host.waitFor(async () => (await alice.daemon('ActiveState')) === 'active', 'the daemon to be back')
    t.equal(await alice.property('box', 'Timestamp'), timestamp)
  })
})

t.test('Varlink clients of the user find it, and only those', async (t) => {
  const socket = `${alice.runtime}/systemd/machine/io.systemd.Machine`
  t.equal((await host.run(['stat', '-c', '%U %a', socket])).stdout, 'alice 600')
  for (const link of ['systemd/machine/io.systemd.MachineImage', 'varlink/registry/io.systemd.Machine']) {
    t.equal((await host.run(['readlink', '-f', `${alice.runtime}/${link}`])).stdout, socket)
  }
  const leader = await alice.startProcess('by-varlink')
  const machine = { name: 'by-varlink', class: 'container', leader: Number(leader) }
  t.equal((await alice.varlink('Register', machine)).stderr, '')
  t.equal(await alice.property('by_2dvarlink', 'Unit'), 's "by-varlink.service"')
  t.match(JSON.parse((await alice.varlink('List', { name: 'by-varlink' })).stdout), { unit: 'by-varlink.service' })
  t.match((await alice.varlink('List', { name: '.host' })).stderr, 'NoSuchMachine')

  const scope = { name: 'scoped', class: 'container', leader: Number(await alice.startProcess('scoped')) }
  t.equal((await alice.varlink('Register', { ...scope, allocateUnit: true })).stderr, '')
  t.equal(await alice.output('systemctl', '--user', 'is-active', 'machine-scoped.scope'), 'active')
  for (const name of ['by-varlink', 'scoped']) {
    t.equal((await alice.varlink('Terminate', { name })).stderr, '')
    await alice.waitTillGone(name)
  }

  const other = { ...machine, name: 'r', leader: Number(await alice.startProcess('other')) }
  const call = ['varlinkctl', 'call', socket, 'io.systemd.Machine.Register', JSON.stringify(other)]
  t.match((await host.run(call, { reject: false })).stderr, /Permission denied/, 'not even for root')
  t.not((await bob.try(...call)).exitCode, 0)
  const sockets = (await host.run(['ls', `${alice.runtime}/systemd`])).stdout
  t.notMatch(sockets, /userdb|resolve/, 'nobody is told of users and addresses')
})

t.test('nobody else may register there, not even root; all else is open to who gets to the bus', async (t) => {
  const refused = await callAsRoot('RegisterMachine', 'sayssus', 'r', '0', '', 'container', '0', '')
  t.match(refused.stderr, 'Access denied')
  const created = await callAsRoot('CreateMachine', 'sayssusa(sv)', 'r', '0', '', 'vm', '0', '', '0')
  t.match(created.stderr, 'Access denied')
  t.notMatch((await alice.call('ListMachines')).stdout, '"r"')
  t.equal((await callAsRoot('KillMachine', 'ssi', 'box', 'leader', '18')).stderr, '')
  t.equal((await callAsRoot('GetMachine', 's', 'box')).stdout, `o "${PATH}/machine/box"`)
})

t.test('images of the user are found, and belong to the user', async (t) => {
  const pool = `${alice.home}/.local/state/machines`
  await alice.output('mkdir', '-p', `${pool}/tree/etc`)
  const pattern = new RegExp(`^a\\(ssbttto\\) 1 "tree" "directory" false .* "${PATH}/image/tree"$`)
  t.match((await alice.call('ListImages')).stdout, pattern)
  t.match(await alice.output('machinectl', '--user', 'list-images'), /^tree +directory/m)
  t.match((await alice.call('GetImage', 's', '.host')).stderr, "No image '.host' known")
  t.notMatch((await host.run(['machinectl', 'list-images'])).stdout, 'tree', 'the system knows nothing of them')
})

t.test('the user changes the log level', async (t) => {
  const level = [NAME, '/org/freedesktop/LogControl1', 'org.freedesktop.LogControl1', 'LogLevel']
  await alice.output('busctl', '--user', 'set-property', ...level, 's', 'debug')
  t.equal(await alice.output('busctl', '--user', 'get-property', ...level), 's "debug"')
  await alice.output('busctl', '--user', 'set-property', ...level, 's', 'info')
})

t.test('CreateMachine makes a scope in the manager of the user', async (t) => {
  const leader = await alice.startProcess('made')
  const created = await alice.call('CreateMachine', 'sayssusa(sv)', 'a-b', '0', '', 'vm', leader, '', '0')
  t.equal(created.stdout, `o "${PATH}/machine/a_2db"`)
  const show = [
    'systemctl',
    '--user',
    'show',
    'machine-a\\x2db.scope',
    '-p',
    'Slice',
    '-p',
    'TasksMax',
    '-p',
    'Delegate'
  ]
  t.same((await alice.output(...show)).split('\n').sort(), ['Delegate=yes', 'Slice=machine.slice', 'TasksMax=16384'])
  t.match(await host.readFile(`/proc/${leader}/cgroup`), `user@${alice.uid}.service/machine.slice/machine-a`)
  t.equal((await alice.call('TerminateMachine', 's', 'a-b')).stderr, '')
  await alice.waitTillGone('a-b')
})

t.test('the stock daemon takes over from ours and answers alike, and ours from it', async (t) => {
  const leader = await alice.startProcess('alike')
  t.equal((await alice.register('alike', leader)).stderr, '')
  // Which forgets that busctl, long gone, was the supervisor.
  await replaceDaemon()
  const ours = await transcript(leader)
  for (const name of [UNIT, 'systemd-machined.socket']) {
    const stock = await host.readFile(`/usr/lib/systemd/user/${name}`)
    await host.writeFile(`/etc/systemd/user/${name}`, stock)
  }
  await replaceDaemon()
  t.match(await alice.daemon('ExecStart'), '/usr/lib/systemd/systemd-machined')
  t.equal(await transcript(leader), ours)
  await alice.startProcess('stock').then((pid) => alice.register('stock', pid))

  await host.run(['rm', `/etc/systemd/user/${UNIT}`, '/etc/systemd/user/systemd-machined.socket'])
  await replaceDaemon()
  t.match(await alice.daemon('ExecStart'), '/usr/local/lib/machined')
  t.equal(await alice.property('stock', 'Unit'), 's "stock.service"')
  await alice.output('systemctl', '--user', 'stop', 'stock.service', 'alike.service')
  await alice.waitTillGone('stock')
  await alice.waitTillGone('alike')
})

/** What is seen of the machines `box` and `alike`. */
async function transcript(leader: string): Promise<string> {
  const calls: [member: string, ...args: string[]][] = [
    ['GetMachine', 's', 'alike'],
    ['GetMachine', 's', '.host'],
    ['GetMachineByPID', 'u', leader],
    ['GetMachineByPID', 'u', '1'],
    ['GetMachineAddresses', 's', 'alike'],
    ['GetMachineUIDShift', 's', 'alike'],
    ['MapFromMachineUser', 'su', 'alike', '0'],
    ['MapToMachineUser', 'u', alice.uid],
    ['KillMachine', 'ssi', 'alike', 'leader', '0'],
    ['KillMachine', 'ssi', 'alike', 'all', '18'],
    ['TerminateMachine', 's', 'none']
  ]
  const answers = await Promise.all(calls.map((call) => alice.call(...call)))
  const all = [NAME, `${PATH}/machine/alike`, 'org.freedesktop.DBus.Properties', 'GetAll', 's', `${NAME}.Machine`]
  return [
    await alice.output('busctl', '--user', '--json=short', 'call', ...all),
    (await alice.output('machinectl', '--user', 'list')).replace(/^(\S+ +\S+ +\S+).*$/gm, '$1'),
    ...answers.map(({ stdout, stderr }) => stdout + stderr)
  ].join('\n')
}

async function replaceDaemon(): Promise<void> {
  await alice.output('systemctl', '--user', 'daemon-reload')
  await alice.output('systemctl', '--user', 'restart', UNIT)
}

t.test('with nothing to do the daemon goes, and comes back for each call', async (t) => {
  await alice.output('systemctl', '--user', 'stop', 'box.service')
  await alice.waitTillGone('box')
  const settings = '[Unit]\nStartLimitIntervalSec=0\n[Service]\nEnvironment=MACHINED_IDLE_MS=1\n'
  await host.writeFile(DROP_IN, settings)
  await replaceDaemon()
  const isGone = async (): Promise<boolean> => (await alice.daemon('ActiveState')) === 'inactive'
  await host.waitFor(isGone, 'the idle daemon to be gone')
  t.equal(await alice.daemon('Result'), 'success')
  t.equal(await alice.daemon('ExecMainStatus'), '0')
  t.equal(await alice.daemon('StatusText'), 'Shutting down...')

  const leader = await alice.startProcess('guest')
  // Each round but the first begins while the daemon is about to go.
  for (let round = 0; round < 15; round++) {
    t.equal((await alice.register('guest', leader)).stderr, '')
    t.equal((await alice.call('GetMachine', 's', 'guest')).stderr, '')
    t.equal((await alice.call('UnregisterMachine', 's', 'guest')).stderr, '')
    t.match((await alice.varlink('List', { name: 'guest' })).stderr, 'NoSuchMachine')
  }

  // Beside each other calls come at any moment of its going.
  const call = ['busctl', '--user', 'call', NAME, PATH, `${NAME}.Manager`, 'ListMachines'].join(' ')
  const lane = `for round in $(seq 25); do ${call} >/dev/null || exit 1; done`
  const lanes = await Promise.all([1, 2, 3].map(() => alice.try('sh', '-c', lane)))
  t.same(lanes, Array(3).fill({ stdout: '', stderr: '', exitCode: 0 }))

  await t.test('but stays as long as there is a machine', async (t) => {
    t.equal((await alice.register('guest', leader)).stderr, '')
    await host.waitFor(async () => (await alice.daemon('SubState')) === 'running', 'the daemon to run')
    const pid = await alice.daemon('MainPID')
    for (let round = 0; round < 10; round++) t.equal((await alice.call('GetMachine', 's', 'guest')).stderr, '')
    t.equal(await alice.daemon('MainPID'), pid)
    await alice.output('systemctl', '--user', 'stop', 'guest.service')
    await host.waitFor(isGone, 'the daemon to go after the machine')
    t.equal((await host.run(['ls', `${alice.runtime}/systemd/machines`])).stdout, '')
  })
})

t.test('it goes after 30 seconds if told nothing else', async (t) => {
  const isGone = async (): Promise<boolean> => (await bob.daemon('ActiveState')) === 'inactive'
  await host.waitFor(isGone, "bob's daemon to be gone")
  const started = Number(await bob.daemon('ActiveEnterTimestampMonotonic'))
  const ended = Number(await bob.daemon('InactiveEnterTimestampMonotonic'))
  t.ok(ended - started > 29e6 && ended - started < 40e6, `it was there for ${String((ended - started) / 1e6)} s`)
})

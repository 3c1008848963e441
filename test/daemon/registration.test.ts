import t from 'tap'
import { TestHost, type RunResult } from '../host/host.ts'

const NAME = 'org.freedesktop.machine1'
const PATH = '/org/freedesktop/machine1'
const MANAGER = `${NAME}.Manager`
const NO_ID = ['0']

const host = await TestHost.start()
t.teardown(() => host.stop())

function call(member: string, ...args: string[]): Promise<RunResult> {
  return host.run(['busctl', 'call', NAME, PATH, MANAGER, member, ...args], { reject: false })
}

function property(machine: string, name: string): Promise<RunResult> {
  return host.run(['busctl', 'get-property', NAME, `${PATH}/machine/${machine}`, `${NAME}.Machine`, name], {
    reject: false
  })
}

/** A process in a unit of its own; returns its PID. */
async function startProcess(unit: string): Promise<string> {
  await host.run(['systemd-run', '-q', '--collect', `--unit=${unit}`, 'sleep', 'infinity'])
  return (await host.run(['systemctl', 'show', '-P', 'MainPID', `${unit}.service`])).stdout.trim()
}

function register(
  name: string,
  leader: string,
  machineClass = 'container',
  root = '/',
  id = NO_ID
): Promise<RunResult> {
  return call('RegisterMachine', 'sayssus', name, ...id, 'test', machineClass, leader, root)
}

t.test('the host is listed as .host', async (t) => {
  const { stdout } = await call('ListMachines')
  t.equal(stdout.trim(), `a(ssso) 1 ".host" "host" "" "${PATH}/machine/_2ehost"`)
})

t.test('an unknown name is answered with NoSuchMachine', async (t) => {
  for (const name of ['', 'x y', 'gone']) {
    const { stderr, exitCode } = await call('GetMachine', 's', name)
    t.not(exitCode, 0)
    t.match(stderr, `No machine '${name}' known`)
  }
})

t.test('bad arguments are refused and register nothing', async (t) => {
  const leader = await startProcess('refused')
  const refusals: [Promise<RunResult>, string][] = [
    [register('foo_bar', leader), 'Invalid machine name'],
    [register('a-', leader), 'Invalid machine name'],
    [register('a..b', leader), 'Invalid machine name'],
    [register('a'.repeat(65), leader), 'Invalid machine name'],
    [register('.host', leader), 'Invalid machine name'],
    [register('a', leader, 'host'), 'Invalid machine class parameter'],
    [register('a', leader, 'Container'), 'Invalid machine class parameter'],
    [register('a', leader, ''), 'Invalid machine class parameter'],
    [register('a', '1'), 'Invalid leader PID'],
    [register('a', leader, 'container', 'relative'), 'Root directory must be empty or an absolute path'],
    [register('a', leader, 'container', '/', ['2', '1', '2']), 'Invalid machine ID parameter'],
    [register('a', '4000000'), 'Failed to pin process 4000000: No such process'],
    [call('RegisterMachineEx', 'sa(sv)', 'a', '1', 'Nonsense', 's', ''), "Unknown property 'Nonsense'"],
    [call('KillMachine', 'ssi', '.host', 'x', '15'), "Invalid kill parameter 'x'"],
    [call('KillMachine', 'ssi', '.host', 'all', '65'), 'Invalid signal 65'],
    [call('GetMachine', 'u', '5'), `Invalid arguments 'u' to call ${MANAGER}.GetMachine(), expecting 's'.`],
    [call('MapToMachineUser', 'u', '1000'), 'User 1000 belongs to host UID range']
  ]
  for (const [reply, text] of refusals) {
    const { stderr, exitCode } = await reply
    t.not(exitCode, 0, text)
    t.ok(stderr.includes(text), `${text} in ${stderr}`)
  }
  t.match((await call('ListMachines')).stdout, /^a\(ssso\) 1 "\.host"/)
  t.equal((await host.run(['systemctl', 'is-active', 'refused.service'])).stdout.trim(), 'active')
})

t.test('a registered machine is tracked, found and saved', async (t) => {
  const leader = await startProcess('tracked')
  t.equal((await register('foo-bar', leader)).stdout.trim(), `o "${PATH}/machine/foo_2dbar"`)
  t.equal((await property('foo_2dbar', 'Unit')).stdout.trim(), 's "tracked.service"')
  t.equal((await property('foo_2dbar', 'Leader')).stdout.trim(), `u ${leader}`)
  t.equal((await property('foo_2dbar', 'Scope')).stdout.trim(), 's "tracked.service"')
  t.equal((await call('GetMachineByPID', 'u', leader)).stdout.trim(), `o "${PATH}/machine/foo_2dbar"`)
  t.match(
    await host.readFile('/run/systemd/machines/foo-bar'),
    /^NAME=foo-bar\nUID=0\nSCOPE=tracked\.service\nSERVICE=test\nROOT=\/\nLEADER=\d+\n/m
  )
  t.equal((await host.run(['readlink', '/run/systemd/machines/unit:tracked.service'])).stdout.trim(), 'foo-bar')

  await t.test('registering the same leader again is a success', async (t) => {
    t.equal((await register('foo-bar', leader)).exitCode, 0)
  })

  await t.test('its name is taken for others', async (t) => {
    const { stderr } = await register('foo-bar', await startProcess('other'))
    t.match(stderr, "Machine 'foo-bar' already exists")
  })

  await t.test('it survives a restart and a kill of the daemon with its timestamp', async (t) => {
    const timestamp = (await property('foo_2dbar', 'Timestamp')).stdout
    await host.run(['systemctl', 'restart', 'systemd-machined.service'])
    t.equal((await property('foo_2dbar', 'Timestamp')).stdout, timestamp)
    await host.run(['systemctl', 'kill', '--signal=KILL', 'systemd-machined.service'])
    await host.waitFor(async () => (await property('foo_2dbar', 'Timestamp')).exitCode === 0, 'the daemon to be back')
    t.equal((await property('foo_2dbar', 'Timestamp')).stdout, timestamp)
  })

  await t.test('it goes when its unit goes, and takes its files along', async (t) => {
    await host.run(['systemctl', 'stop', 'tracked.service'])
    await host.waitFor(async () => (await call('GetMachine', 's', 'foo-bar')).exitCode !== 0, 'the machine to be gone')
    t.equal((await host.run(['ls', '/run/systemd/machines'])).stdout, '')
  })
})

t.test('an extended registration that names no AF_VSOCK address has none', async (t) => {
  const leader = await startProcess('extended')
  const id = (await host.run(['python3', '-c', `import os; print(os.fstat(os.pidfd_open(${leader})).st_ino)`])).stdout
  const properties = ['3', 'Class', 's', 'vm', 'LeaderPID', 'u', leader, 'LeaderPIDFDID', 't', id]
  t.equal((await call('RegisterMachineEx', 'sa(sv)', 'extended', ...properties)).stderr, '')
  t.equal((await property('extended', 'VSockCID')).stdout, 'u 4294967295')
  t.match(await host.readFile('/run/systemd/machines/extended'), /^VSOCK_CID=4294967295$/m)
  t.equal((await call('UnregisterMachine', 's', 'extended')).exitCode, 0)
})

t.test('unregistering leaves the processes alone', async (t) => {
  const leader = await startProcess('left')
  await register('left', leader)
  t.equal((await call('UnregisterMachine', 's', 'left')).exitCode, 0)
  t.not((await call('GetMachine', 's', 'left')).exitCode, 0)
  t.equal((await host.run(['systemctl', 'is-active', 'left.service'])).stdout.trim(), 'active')
})

t.test('CreateMachine makes a scope named as libvirt expects and answers when it is there', async (t) => {
  const leader = await startProcess('created')
  const args = ['a-b', ...NO_ID, 'test', 'vm', leader, '', '0']
  t.equal((await call('CreateMachine', 'sayssusa(sv)', ...args)).stdout.trim(), `o "${PATH}/machine/a_2db"`)
  const shown = await host.run([
    'systemctl',
    'show',
    '-P',
    'Slice',
    '-P',
    'Delegate',
    '-P',
    'TasksMax',
    'machine-a\\x2db.scope'
  ])
  t.match(shown.stdout, /machine\.slice/)
  t.match(shown.stdout, /16384/)
  t.equal((await property('a_2db', 'State')).stdout.trim(), 's "running"')
  t.notMatch(await host.readFile('/run/systemd/machines/a-b'), /SCOPE_JOB/)
  t.equal((await call('TerminateMachine', 's', 'a-b')).exitCode, 0)
  await host.waitFor(async () => (await call('GetMachine', 's', 'a-b')).exitCode !== 0, 'the machine to be gone')
})

t.test('a machine can be registered anew while its dead predecessor is still known', async (t) => {
  for (let round = 0; round < 10; round++) {
    const leader = await startProcess('phoenix')
    t.equal((await register('phoenix', leader)).stderr, '')
    await host.run(['systemctl', 'stop', 'phoenix.service'])
  }
})

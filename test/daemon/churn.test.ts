import t, { type Test } from 'tap'
import { TestHost, type RunResult } from '../host/host.ts'

// PID 1, the bus and the daemon start anew while machines come and go (issue 2): none is lost, none is left behind.

const NAME = 'org.freedesktop.machine1'
const PATH = '/org/freedesktop/machine1'
const STATE = '/run/systemd/machines'
const ROUNDS = 3

const host = await TestHost.start()
t.teardown(() => host.stop())
// However often the bus takes it along, it shall come back.
await host.writeFile('/run/systemd/system/systemd-machined.service.d/test.conf', '[Unit]\nStartLimitIntervalSec=0\n')
await host.run(['systemctl', 'daemon-reload'])

function call(member: string, ...args: string[]): Promise<RunResult> {
  return host.run(['busctl', 'call', NAME, PATH, `${NAME}.Manager`, member, ...args], { reject: false })
}

/** Asks until the daemon takes it: while the bus or the daemon is away, clients have no other way. */
async function insist(ask: () => Promise<RunResult>, what: string): Promise<void> {
  await host.waitFor(async () => (await ask()).exitCode === 0, what)
}

/** A systemctl that holds out while PID 1 is away. */
function systemctl(...args: string[]): Promise<void> {
  const argv = ['systemctl', ...args]
  return insist(() => host.run(argv, { reject: false }), argv.join(' '))
}

function register(name: string, leader: string): Promise<void> {
  const args = [name, '0', 'test', 'container', leader, '/']
  return insist(() => call('RegisterMachine', 'sayssus', ...args), `${name} to be registered`)
}

function create(name: string, leader: string): Promise<RunResult> {
  return call('CreateMachine', 'sayssusa(sv)', name, '0', 'test', 'vm', leader, '', '0')
}

/** A process in a unit of its own; returns its PID. */
async function startProcess(unit: string): Promise<string> {
  await host.run(['systemd-run', '-q', '--collect', '--service-type=exec', `--unit=${unit}`, 'sleep', 'infinity'])
  return (await host.run(['systemctl', 'show', '-P', 'MainPID', `${unit}.service`])).stdout
}

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

async function stateFiles(): Promise<string> {
  return (await host.run(['ls', '-A', STATE])).stdout
}

/** Exactly these machines are known and have files, once all that goes on has come to its end. */
async function onlyThese(t: Test, names: string[]): Promise<void> {
  const wanted = JSON.stringify(names.sort())
  await host
    .waitFor(async () => JSON.stringify(await machines()) === wanted, `just ${wanted} to be known`)
    .catch(() => 0)
  t.strictSame(await machines(), names)
  const files = (await stateFiles()).split('\n').filter((name) => name !== '')
  t.strictSame(
    files.filter((name) => !name.startsWith('unit:')),
    names
  )
  t.equal(files.length, 2 * names.length)
}

for (const [what, command] of [
  ['PID 1 reloads', ['systemctl', 'daemon-reload']],
  ['PID 1 re-executes itself', ['systemctl', 'daemon-reexec']],
  ['the bus starts anew', ['systemctl', 'restart', 'dbus.service']],
  ['the daemon starts anew', ['systemctl', 'restart', 'systemd-machined.service']]
] satisfies [string, string[]][]) {
  t.test(`no machine is lost and none left behind when ${what} amid churn`, async (t) => {
    const living: string[] = []
    for (let round = 0; round < ROUNDS; round++) {
      const [stays, goes, ends] = ['stays', 'goes', 'ends'].map((name) => `${name}-${round}`) as [
        string,
        string,
        string
      ]
      const leaders = await Promise.all([startProcess(stays), startProcess(goes), startProcess(ends)])
      await register(ends, leaders[2])
      // Of the same name in each of these tests: PID 1 must not have kept the scope of the one before.
      t.equal((await create(`scope-${round}`, await startProcess(`scope-${round}`))).stderr, '')
      await Promise.all([
        host.run(command),
        register(stays, leaders[0]),
        register(goes, leaders[1]).then(() => systemctl('stop', `${goes}.service`)),
        systemctl('stop', `${ends}.service`),
        systemctl('stop', `machine-scope\\x2d${round}.scope`)
      ])
      living.push(stays)
      await systemctl('list-jobs')
    }
    await onlyThese(t, living)
    await host.run(['systemctl', 'stop', ...living.map((name) => `${name}.service`)])
    await onlyThese(t, [])
  })
}

t.test('a scope is made, and its maker answered, whatever PID 1 does meanwhile', async (t) => {
  for (const command of ['daemon-reload', 'daemon-reexec']) {
    const leader = await startProcess(`maker-${command}`)
    const [answer] = await Promise.all([create('made', leader), host.run(['systemctl', command])])
    // PID 1 may have been away from the bus when we asked; then we were told, and nothing is left.
    if (answer.exitCode !== 0) await onlyThese(t, [])
    else t.match((await host.run(['machinectl', 'show', 'made', '--property=State'])).stdout, 'State=running')
    await systemctl('list-jobs')
    await host.run(['systemctl', 'stop', 'machine-made.scope', `maker-${command}.service`], { reject: false })
    await onlyThese(t, [])
  }
})

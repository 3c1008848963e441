import { once } from 'node:events'
import t from 'tap'
import { TestHost, type RunOptions, type RunResult } from '../host/host.ts'

const NAME = 'org.freedesktop.machine1'
const PATH = '/org/freedesktop/machine1'
const MANAGER = `${NAME}.Manager`
const USER = 'alice'
const NO_ID = `array:byte:${Array<string>(16).fill('0').join(',')}`

const ACCESS_DENIED = 'Error org.freedesktop.DBus.Error.AccessDenied: '
const DENIED_BY_POLKIT = `${ACCESS_DENIED}Permission denied`
const DENIED_BY_BUS = `${ACCESS_DENIED}Rejected send message`
const INTERACTIVE =
  'Error org.freedesktop.DBus.Error.InteractiveAuthorizationRequired: Access denied as the requested operation requires interactive authentication. However, interactive authentication has not been enabled by the calling program.'

// What is not decided here falls to the shipped defaults, which want an administrator's password.
// `asked` and `go` are FIFOs: polkit says through one that it is thinking, and waits for the other.
const RULES = `
polkit.addAdminRule(function () { return ["unix-user:root"] })
polkit.addRule(function (action, subject) {
  if (subject.user != "${USER}") return polkit.Result.NOT_HANDLED
  var machine = action.lookup("machine")
  var verb = action.lookup("verb")
  if (action.id == "${NAME}.register-machine") {
    if (action.lookup("name") == "forbidden" || action.lookup("class") == "vm") return polkit.Result.NO
    return polkit.Result.YES
  }
  if (action.id != "${NAME}.manage-machines") return polkit.Result.NOT_HANDLED
  if (machine == "roots" && verb == "terminate") return polkit.Result.NO
  if (machine == "killable" && verb == "kill") return polkit.Result.YES
  if (machine == "slow") {
    polkit.spawn(["sh", "-c", "echo asked >/run/asked; cat /run/go"])
    return polkit.Result.YES
  }
  return polkit.Result.NOT_HANDLED
})
`

const host = await TestHost.start()
t.teardown(() => host.stop())
await host.run(['useradd', USER])
const uid = (await host.run(['id', '-u', USER])).stdout

const asUser: RunOptions = { user: USER, reject: false }
const asRoot: RunOptions = { reject: false }

// Unlike busctl, dbus-send shows the name of an error, and the text of AccessDenied.
function command(path: string, member: string, args: readonly string[]): string[] {
  return ['dbus-send', '--system', '--print-reply=literal', `--dest=${NAME}`, path, member, ...args]
}

function call(options: RunOptions, member: string, ...args: string[]): Promise<RunResult> {
  return host.run(command(PATH, `${MANAGER}.${member}`, args), options)
}

function callMachine(options: RunOptions, machine: string, member: string, ...args: string[]): Promise<RunResult> {
  return host.run(command(`${PATH}/machine/${machine}`, `${NAME}.Machine.${member}`, args), options)
}

function register(options: RunOptions, name: string, leader: string, machineClass = 'container'): Promise<RunResult> {
  const texts = ['string:test', `string:${machineClass}`, `uint32:${leader}`, 'string:/']
  return call(options, 'RegisterMachine', `string:${name}`, NO_ID, ...texts)
}

function kill(options: RunOptions, name: string): Promise<RunResult> {
  return call(options, 'KillMachine', `string:${name}`, 'string:leader', 'int32:9')
}

function terminate(options: RunOptions, name: string): Promise<RunResult> {
  return call(options, 'TerminateMachine', `string:${name}`)
}

/** A process of the user in a unit of its own; returns its PID. */
async function startProcess(unit: string, user = 'root'): Promise<string> {
  await host.run(['systemd-run', '-q', '--collect', `--unit=${unit}`, `--uid=${user}`, 'sleep', 'infinity'])
  return (await host.run(['systemctl', 'show', '-P', 'MainPID', `${unit}.service`])).stdout
}

/** A machine of root's. */
async function startMachine(name: string): Promise<string> {
  const leader = await startProcess(name)
  await register({}, name, leader)
  return leader
}

async function isKnown(name: string): Promise<boolean> {
  return (await call(asRoot, 'GetMachine', `string:${name}`)).exitCode === 0
}

async function isRunning(unit: string): Promise<boolean> {
  return (await host.run(['systemctl', 'is-active', `${unit}.service`], asRoot)).stdout === 'active'
}

// The exec keeps the PID that the agent serves.
const WITH_AGENT = `
mkfifo "$HOME/up"
pkttyagent --process $$ --notify-fd 3 3>"$HOME/up" &
cat "$HOME/up"
rm "$HOME/up"
exec busctl`

/** Has the user call busctl at a terminal, with a polkit agent that authenticates root there; returns what is seen. */
async function atTerminal(args: string): Promise<string> {
  const terminal = host.spawn(['env', 'HOME=/tmp', 'script', '-qec', `${WITH_AGENT} ${args}`, '/dev/null'], {
    user: USER
  })
  let seen = ''
  terminal.stdout.setEncoding('utf8').on('data', (text: string) => (seen += text))
  await once(terminal, 'close')
  return seen
}

type Tap = Pick<typeof t, 'equal' | 'not'>

function refused(t: Tap, { stderr, exitCode }: RunResult, error: string): void {
  t.not(exitCode, 0, error)
  t.equal(stderr.slice(0, error.length), error)
}

const roots = await startMachine('roots')

t.test('everyone may list and look', async (t) => {
  const machine = `${PATH}/machine/roots`
  t.match((await call(asUser, 'ListMachines')).stdout, machine)
  t.match((await call(asUser, 'GetMachine', 'string:roots')).stdout, machine)
  t.match((await call(asUser, 'GetMachineByPID', `uint32:${roots}`)).stdout, machine)
  const argv = ['busctl', 'get-property', NAME, machine, `${NAME}.Machine`, 'UID']
  t.equal((await host.run(argv, asUser)).stdout, 'u 0')
  t.equal((await host.run(['busctl', 'introspect', NAME, machine], asUser)).exitCode, 0)
  t.match((await host.run(['machinectl', 'list', '--no-legend'], asUser)).stdout, /^roots +container/m)
})

t.test('without a rule, a user without an administrator at hand changes nothing', async (t) => {
  const own = await startProcess('own', USER)
  const refusals = [
    await kill(asUser, 'roots'),
    await terminate(asUser, 'roots'),
    await call(asUser, 'UnregisterMachine', 'string:roots'),
    await callMachine(asUser, 'roots', 'Kill', 'string:all', 'int32:9'),
    await callMachine(asUser, 'roots', 'Terminate'),
    await register(asUser, 'own', own),
    await register(asUser, 'own', roots)
  ]
  for (const refusal of refusals) refused(t, refusal, INTERACTIVE)
  for (const interactive of ['yes', 'no']) {
    const argv = ['busctl', `--allow-interactive-authorization=${interactive}`, 'call', NAME, PATH, MANAGER]
    const { stderr } = await host.run([...argv, 'TerminateMachine', 's', 'roots'], asUser)
    t.match(stderr, 'requires interactive authentication', `with interactive authorization: ${interactive}`)
  }
  t.ok(await isKnown('roots'))
  t.ok(await isRunning('roots'))
  t.notOk(await isKnown('own'))
})

t.test('arguments are checked before anyone is asked', async (t) => {
  refused(t, await kill(asUser, 'gone'), `Error ${NAME}.NoSuchMachine: No machine 'gone' known`)
  refused(t, await register(asUser, 'a_b', roots), 'Error org.freedesktop.DBus.Error.InvalidArgs: Invalid machine name')
})

t.test('only root sets properties and what the bus policy does not name', async (t) => {
  const log = '/org/freedesktop/LogControl1'
  const level = ['string:org.freedesktop.LogControl1', 'string:LogLevel']
  const set = command(log, 'org.freedesktop.DBus.Properties.Set', [...level, 'variant:string:debug'])
  const get = command(log, 'org.freedesktop.DBus.Properties.Get', level)
  const before = (await host.run(get, asUser)).stdout
  refused(t, await host.run(set, asUser), DENIED_BY_BUS)
  refused(t, await call(asUser, 'SetNothing'), DENIED_BY_BUS)
  t.equal((await host.run(get, asUser)).stdout, before)
  t.equal((await host.run(set)).exitCode, 0)
  t.match((await host.run(get, asUser)).stdout, 'debug')
})

t.test('with a rule that allows to register', async (t) => {
  await host.writeFile('/etc/polkit-1/rules.d/10-test.rules', RULES)
  const own = (await host.run(['systemctl', 'show', '-P', 'MainPID', 'own.service'])).stdout
  // polkit reads the file when it notices it.
  await host.waitFor(async () => (await register(asUser, 'own', own)).exitCode === 0, 'polkit to load the rule')

  await t.test("a user's own process becomes the user's machine", async (t) => {
    const argv = ['busctl', 'get-property', NAME, `${PATH}/machine/own`, `${NAME}.Machine`]
    t.equal((await host.run([...argv, 'UID', 'Leader'], asUser)).stdout, `u ${uid}\nu ${own}`)
    t.match(await host.readFile('/run/systemd/machines/own'), new RegExp(`^UID=${uid}$`, 'm'))
  })

  await t.test("another's process stays another's", async (t) => {
    const leader = await startProcess('alien')
    const text = 'Only privileged users may register machines for other users'
    refused(t, await register(asUser, 'alien', leader), ACCESS_DENIED + text)
    t.notOk(await isKnown('alien'))
    t.ok(await isRunning('alien'))
  })

  await t.test('the rule sees the name and class', async (t) => {
    const leader = await startProcess('more', USER)
    refused(t, await register(asUser, 'forbidden', leader), DENIED_BY_POLKIT)
    refused(t, await register(asUser, 'more', leader, 'vm'), DENIED_BY_POLKIT)
    t.equal((await register(asUser, 'more', leader)).exitCode, 0)
  })

  await t.test('the rule sees the machine and verb', async (t) => {
    await startMachine('killable')
    refused(t, await terminate(asUser, 'roots'), DENIED_BY_POLKIT)
    refused(t, await kill(asUser, 'roots'), INTERACTIVE)
    refused(t, await terminate(asUser, 'killable'), INTERACTIVE)
    t.ok(await isRunning('killable'))
    t.equal((await kill(asUser, 'killable')).exitCode, 0)
    await host.waitFor(async () => !(await isRunning('killable')), 'the machine to be killed')
  })

  await t.test('an administrator at hand helps, if the caller allows to ask', async (t) => {
    // Any administrator is believed without a password: typing one in would be a race with the agent, which drops early input.
    await host.writeFile('/etc/pam.d/polkit-1', 'auth required pam_permit.so\naccount required pam_permit.so\n')
    await startMachine('attended')
    const args = `call ${NAME} ${PATH} ${MANAGER} TerminateMachine s attended`
    const unasked = await atTerminal(`--allow-interactive-authorization=no ${args}`)
    t.notMatch(unasked, 'AUTHENTICATING')
    t.match(unasked, 'interactive authentication has not been enabled')
    t.ok(await isKnown('attended'))
    const asked = await atTerminal(args)
    t.match(asked, 'AUTHENTICATION COMPLETE')
    t.notMatch(asked, 'Call failed')
    await host.waitFor(async () => !(await isKnown('attended')), 'the machine to be gone')
  })

  await t.test('a machine that went while polkit was thinking is not acted on', async (t) => {
    await startMachine('slow')
    await host.run(['mkfifo', '-m', '666', '/run/asked', '/run/go'])
    const pending = terminate(asUser, 'slow')
    await host.run(['cat', '/run/asked'])
    t.equal((await call(asRoot, 'UnregisterMachine', 'string:slow')).exitCode, 0)
    await host.run(['sh', '-c', 'echo go >/run/go'])
    refused(t, await pending, `Error ${NAME}.NoSuchMachine: No machine 'slow' known`)
    t.ok(await isRunning('slow'))
  })
})

t.test('without any polkit', async (t) => {
  await host.run(['rm', '/usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service'])
  await host.run(['systemctl', 'reload', 'dbus.service'])
  await host.run(['systemctl', 'stop', 'polkit.service'])

  await t.test('strangers are refused', async (t) => {
    refused(t, await kill(asUser, 'roots'), DENIED_BY_POLKIT)
    refused(t, await terminate(asUser, 'roots'), DENIED_BY_POLKIT)
    refused(t, await register(asUser, 'late', await startProcess('late', USER)), DENIED_BY_POLKIT)
    t.ok(await isRunning('roots'))
  })

  await t.test('owners do as they like', async (t) => {
    t.equal((await kill(asUser, 'own')).exitCode, 0)
    await host.waitFor(async () => !(await isRunning('own')), 'the machine to be killed')
    t.equal((await callMachine(asUser, 'more', 'Terminate')).exitCode, 0)
    await host.waitFor(async () => !(await isKnown('more')), 'the machine to be gone')
  })

  await t.test('and so does root', async (t) => {
    t.equal((await terminate(asRoot, 'roots')).exitCode, 0)
    await host.waitFor(async () => !(await isKnown('roots')), 'the machine to be gone')
  })
})

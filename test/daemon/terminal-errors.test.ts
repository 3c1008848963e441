import t from 'tap'
import { TestHost, type RunOptions } from '../host/host.ts'
import { Client } from './client.ts'

const NAME = 'org.freedesktop.machine1'
const PATH = '/org/freedesktop/machine1'
const USER = 'alice'
const SEPARATOR = '---- next call ----'

// What alice may do to the machine `lent` is told apart by all that polkit hears.
const RULES = `
polkit.addRule(function (action, subject) {
  if (subject.user != "${USER}") return polkit.Result.NOT_HANDLED
  if (action.id == "${NAME}.register-machine") return polkit.Result.YES
  if (action.lookup("machine") != "lent") return polkit.Result.NOT_HANDLED
  if (action.id == "${NAME}.open-pty" && action.lookup("verb") === undefined) return polkit.Result.YES
  if (action.id == "${NAME}.login" && action.lookup("verb") == "login") return polkit.Result.YES
  if (action.id == "${NAME}.shell" && action.lookup("user") == "bob" && action.lookup("program") == "/bin/echo" &&
      action.lookup("command_line") == "echo a b") return polkit.Result.YES
  return polkit.Result.NOT_HANDLED
})
`

type Call = readonly [member: string, ...args: string[]]

/** A shell in a machine, with lists as dbus-send has them: separated by commas. */
const shell = (machine: string, user: string, path = '', args = '', environment = ''): Call => [
  'OpenMachineShell',
  ...[machine, user, path].map((text) => `string:${text}`),
  `array:string:${args}`,
  `array:string:${environment}`
]

const USERS = [
  ...[
    '',
    'root',
    'a b',
    ' a',
    'a ',
    '.',
    '..',
    '..a',
    'a/b',
    'a:b',
    '-',
    '-1',
    '-1x',
    '--1',
    '+1',
    '0',
    '12',
    '007',
    '1.5'
  ],
  ...[
    '65534',
    '65535',
    '4294967295',
    '4294967296',
    'ä',
    'ä/',
    'a\x01',
    'a\x7f',
    'a\x85',
    'a\x85/',
    'a\n',
    '$x',
    'a\xa0'
  ],
  'x'.repeat(300)
]
const ENVIRONMENTS = [
  ...['A', 'A=', '=x', 'A=b', '1A=b', 'A-B=c', 'A=1,A=2', 'A=1,B=2', 'A=\x01', 'A=\t', 'A=\n', 'A_1=x', 'Ä=x', 'A=ä'],
  ...['a=b=c', '_=x']
]
const MACHINES = ['busless', 'vm', 'own', 'ownvm', 'none', '.host2', '']

/** Calls of root that fail: `busless` is a container without a bus, so that even sound requests get no shell. */
const CALLS: readonly Call[] = [
  ...USERS.map((user) => shell('busless', user)),
  ...['x', './x', '/', '//x', '/x/../y', '\x01'].map((path) => shell('busless', 'root', path)),
  ...ENVIRONMENTS.map((environment) => shell('busless', 'root', '/x', 'x', environment)),
  shell('busless', 'a/b', 'x', '', '1'),
  shell('busless', '', 'x', '', '1'),
  ...MACHINES.flatMap((name): Call[] => [
    ...(name === 'busless' || name === 'own' ? [] : [['OpenMachinePTY', `string:${name}`] as const]),
    ...(name === 'own' ? [] : [['OpenMachineLogin', `string:${name}`] as const]),
    shell(name, ''),
    shell(name, 'a/b', 'x'),
    shell(name, 'root', 'x')
  ])
]

/** Calls of alice. */
const USER_CALLS: readonly Call[] = [
  ...['.host', 'busless', 'lent'].flatMap((name): Call[] => [
    ['OpenMachineLogin', `string:${name}`],
    shell(name, 'root'),
    shell(name, 'a/b')
  ]),
  ['OpenMachinePTY', 'string:.host'],
  ['OpenMachinePTY', 'string:busless'],
  shell('lent', 'bob', '/bin/echo', 'echo,a,b'),
  shell('lent', 'bob', '/bin/echo', 'echo,a,c'),
  shell('lent', 'root', '/bin/echo', 'echo,a,b'),
  shell('own', 'root'),
  shell('ownvm', 'root'),
  ['OpenMachineLogin', 'string:ownvm'],
  ['OpenMachinePTY', 'string:ownvm']
]

const host = await TestHost.start({ root: 'testing' })
t.teardown(() => host.stop())
const client = new Client(host)
await host.run(['useradd', USER])
await host.writeFile('/etc/polkit-1/rules.d/10-test.rules', RULES)
for (const name of ['busless', 'lent']) {
  const mount = `
    mkdir -p /run/$0/upper /run/$0/work /var/lib/machines/$0
    mount -t overlay -o lowerdir=/run/test-host/guest,upperdir=/run/$0/upper,workdir=/run/$0/work $0 /var/lib/machines/$0
    systemd-run -q --collect --service-type=notify systemd-nspawn -qaM $0 --register=yes sleep infinity`
  await host.run(['sh', '-euc', mount, name])
}
for (const name of ['vm', 'own', 'ownvm']) {
  const uid = name === 'vm' ? 'root' : USER
  const kind = name === 'own' ? 'container' : 'vm'
  await host.run(['systemd-run', '-q', `--unit=${name}`, `--uid=${uid}`, 'sleep', 'infinity'])
  const leader = await client.output('systemctl', 'show', '-P', 'MainPID', name)
  const register = ['busctl', 'call', NAME, PATH, `${NAME}.Manager`, 'RegisterMachine', 'sayssus']
  const argv = [...register, name, '0', 'test', kind, leader, '/']
  const isRegistered = async (): Promise<boolean> => (await host.run(argv, { user: uid, reject: false })).exitCode === 0
  await host.waitFor(isRegistered, `${name} to be registered, when polkit knows the rules`)
}

/** Makes calls in one shell and gives what each is answered. */
async function answers(calls: readonly Call[], options: RunOptions = {}): Promise<string[]> {
  const send = `send() { dbus-send --system --print-reply=literal --dest=${NAME} ${PATH} "$@" 2>&1; echo '${SEPARATOR}'; }`
  const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`
  const lines = calls.map(([member, ...args]) => ['send', `${NAME}.Manager.${member}`, ...args].map(quote).join(' '))
  const { stdout } = await host.run(['sh', '-s'], { ...options, input: [send, ...lines].join('\n') })
  return stdout.split(`${SEPARATOR}\n`).map((text) => text.replace(SEPARATOR, '').trim())
}

async function allAnswers(): Promise<string[]> {
  return [...(await answers(CALLS)), ...(await answers(USER_CALLS, { user: USER }))]
}

await host.useStock()
const stock = await allAnswers()
await host.useOurs()
const ours = await allAnswers()

t.test('every call is answered as by the stock daemon', (t) => {
  t.equal(stock.length, CALLS.length + USER_CALLS.length)
  for (const [index, call] of [...CALLS, ...USER_CALLS].entries()) t.equal(ours[index], stock[index], call.join(' '))
  t.end()
})

t.test('the answers are those that the calls are to show', (t) => {
  t.match(
    ours[CALLS.indexOf(CALLS.find(([, , user]) => user === 'string:a/b') ?? [''])],
    /InvalidArgs: Invalid user name 'a\/b'$/
  )
  const mine = (call: Call): string => ours[CALLS.length + USER_CALLS.indexOf(call)] ?? ''
  const [lent, otherArgs, otherUser] = USER_CALLS.filter(
    ([, machine, , path]) => machine === 'string:lent' && path === 'string:/bin/echo'
  )
  t.match(lent && mine(lent), /There is no system bus in container lent\.$/, 'allowed')
  for (const call of [otherArgs, otherUser]) t.match(call && mine(call), /InteractiveAuthorizationRequired/)
  t.end()
})

t.test('owners have terminals of their machines, and of theirs alone', async (t) => {
  const open = ['busctl', 'call', NAME, `${PATH}/machine/own`, `${NAME}.Machine`, 'OpenPTY']
  t.match((await host.run(open, { user: USER })).stdout, /^hs \d+ "\/dev\/pts\/\d+"$/)
  t.match((await host.run(open, { user: 'nobody', reject: false })).stderr, /interactive authentication/)
  const lent = ['busctl', 'call', NAME, PATH, `${NAME}.Manager`, 'OpenMachinePTY', 's', 'lent']
  t.match((await host.run(lent, { user: USER })).stdout, /^hs \d+ "\/dev\/pts\/\d+"$/, 'or where a rule says so')
})

t.test('too many environment assignments are refused', async (t) => {
  const count = 16385
  const assignments = Array.from({ length: count }, (_, index) => `V${String(index)}=`)
  const argv = [
    ...['busctl', 'call', NAME, PATH, `${NAME}.Manager`, 'OpenMachineShell', 'sssasas', 'busless', '', '', '0']
  ]
  const { stderr } = await host.run([...argv, String(count), ...assignments], { reject: false })
  t.match(stderr, /Too many environment assignments in a single query\.$/)
})

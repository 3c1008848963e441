import { execa } from 'execa'
import t from 'tap'
import { Variant } from '../../daemon/bus/client-bus.ts'
import { Connection } from '../../daemon/bus/connection.ts'
import { startBus } from './private-bus.ts'

// Codecs of others, from the outside: what busctl (sd-bus) and dbus-send (libdbus) send we read, and what we send they
// read. A private message bus is between us, and it checks all messages too.

type Tap = Pick<typeof t, 'teardown'>

/** A bus with a service on it that gives back what it gets, and keeps it. */
async function startEcho(t: Tap): Promise<{ address: string; name: string; received: [string, unknown[]][] }> {
  const { address } = await startBus(t)
  const connection = await Connection.open(address)
  t.teardown(() => {
    connection.close()
  })
  const received: [string, unknown[]][] = []
  connection.onMethodCall = ({ serial, sender, signature, body }) => {
    received.push([signature, body])
    connection.send({ type: 2, replySerial: serial, destination: sender, signature, body })
  }
  return { address, name: connection.uniqueName, received }
}

/** A signature, its values as arguments of busctl, as we read them, and as busctl prints them in JSON. */
const busctlCases: [string, string, unknown[], unknown[]?][] = [
  ['s', 'äöü€', ['äöü€']],
  ['s', '', ['']],
  ['yybnqiud', '1 2 true -3 4 -5 4294967295 0.5', [1, 2, true, -3, 4, -5, 4294967295, 0.5]],
  ['xt', '-4611686018427387904 9223372036854775808', [-(2n ** 62n), 2n ** 63n], [-(2 ** 62), 2 ** 63]],
  [
    'a(ssso)',
    '2 a b c /d e f g /h',
    [
      [
        ['a', 'b', 'c', '/d'],
        ['e', 'f', 'g', '/h']
      ]
    ]
  ],
  [
    'sa{sv}as',
    'i.f 2 A u 1 B ay 3 120 121 122 1 Z',
    ['i.f', { A: new Variant('u', 1), B: new Variant('ay', Buffer.from('xyz')) }, ['Z']],
    ['i.f', { A: { type: 'u', data: 1 }, B: { type: 'ay', data: [120, 121, 122] } }, ['Z']]
  ],
  ['aad', '3 0 1 1.5 0', [[[], [1.5], []]]],
  ['v', '(sai) x 2 1 -2', [new Variant('(sai)', ['x', [1, -2]])], [{ type: '(sai)', data: ['x', [1, -2]] }]],
  ['go', 'a{sv} /', ['a{sv}', '/']]
]

t.test('busctl', async (t) => {
  const { address, name, received } = await startEcho(t)
  for (const [signature, args, body, json = body] of busctlCases) {
    const call = ['call', name, '/a', 'org.example.A', 'Echo', signature, ...args.split(' ')]
    const { stdout } = await execa('busctl', [`--address=${address}`, '--json=short', '--', ...call])
    t.same(received.pop(), [signature, body], `${signature}: theirs read by us`)
    t.same(JSON.parse(stdout), { type: signature, data: json }, `${signature}: ours read by them`)
  }
})

t.test('dbus-send', async (t) => {
  const { address, name, received } = await startEcho(t)
  const cases: [string, string[], unknown[], RegExp][] = [
    ['s', ['string:äöü€'], ['äöü€'], /^string "äöü€"$/],
    ['yb', ['byte:7', 'boolean:true'], [7, true], /^byte 7 boolean true$/],
    [
      'nqiu',
      ['int16:-3', 'uint16:4', 'int32:-5', 'uint32:4294967295'],
      [-3, 4, -5, 4294967295],
      /-3 .* 4 .* -5 .* 4294967295$/
    ],
    [
      'xt',
      ['int64:-4611686018427387904', 'uint64:9223372036854775808'],
      [-(2n ** 62n), 2n ** 63n],
      /-4611686018427387904 .* 9223372036854775808$/
    ],
    ['d', ['double:0.5'], [0.5], /^double 0.5$/],
    ['o', ['objpath:/a/b'], ['/a/b'], /^object path "\/a\/b"$/],
    ['as', ['array:string:x,y'], [['x', 'y']], /^array \[ string "x" string "y" \]$/],
    ['ay', ['array:byte:200,2,3'], [Buffer.from([200, 2, 3])], /^array of bytes \[ c8 02 03 \]$/],
    ['a{su}', ['dict:string:uint32:k,1'], [{ k: 1 }], /^array \[ dict entry\( string "k" uint32 1 \) \]$/],
    ['v', ['variant:int32:-8'], [new Variant('i', -8)], /^variant +int32 -8$/]
  ]
  for (const [signature, args, body, text] of cases) {
    const call = ['--print-reply', `--bus=${address}`, `--dest=${name}`, '/a', 'org.example.A.Echo', ...args]
    const { stdout } = await execa('dbus-send', call)
    t.same(received.pop(), [signature, body], `${signature}: theirs read by us`)
    const printed = stdout.split('\n').slice(1).join(' ').replace(/\s+/g, ' ').trim()
    t.match(printed, text, `${signature}: ours read by them`)
  }
})

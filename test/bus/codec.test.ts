import { createRequire } from 'node:module'
import { PassThrough } from 'node:stream'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { Variant } from 'dbus-next'
import t from 'tap'
import { codecOf, decodeValues, EncodedStruct } from '../../daemon/bus/codec.ts'
import { isValidBusName, isValidInterface, isValidMember, isValidObjectPath } from '../../daemon/bus/names.ts'
import { parseSignature, ProtocolError } from '../../daemon/bus/signature.ts'
import { encodeMessage, MessageParser, type BusMessage } from '../../daemon/bus/message.ts'

const require = createRequire(import.meta.url)
const settings = { seed: 20261123, numRuns: 300 }

interface Sample {
  signature: string
  value: unknown
}

const text = fc.string({ unit: 'binary', maxLength: 80 }).filter((s) => !/[\0\p{Surrogate}]/u.test(s))
const path = fc.array(fc.stringMatching(/^[A-Za-z0-9_]{1,8}$/), { maxLength: 4 }).map((parts) => `/${parts.join('/')}`)
const basics: Record<string, fc.Arbitrary<unknown>> = {
  y: fc.integer({ min: 0, max: 255 }),
  b: fc.boolean(),
  n: fc.integer({ min: -32768, max: 32767 }),
  q: fc.integer({ min: 0, max: 65535 }),
  i: fc.integer(),
  u: fc.integer({ min: 0, max: 0xffffffff }),
  x: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  t: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  d: fc.double(),
  s: text,
  o: path,
  g: fc.constantFrom('', 's', 'a{sv}', '(ii)as')
}

const signatures = fc.letrec<{ type: string }>((tie) => ({
  type: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(...Object.keys(basics), 'v'),
    tie('type').map((type) => `a${type}`),
    fc.tuple(fc.constantFrom(...Object.keys(basics)), tie('type')).map(([key, type]) => `a{${key}${type}}`),
    fc.array(tie('type'), { minLength: 1, maxLength: 3 }).map((types) => `(${types.join('')})`)
  )
})).type

type Type = ReturnType<typeof parseSignature>[number]

function valueOf(type: Type, variants = 2): fc.Arbitrary<unknown> {
  switch (type.kind) {
    case 'basic':
      return basics[type.code] ?? fc.constant(0)
    case 'variant':
      return (variants > 0 ? fc.constantFrom('s', 'u', 'as', '(sv)', 'a{sv}', 'ay') : fc.constantFrom('s', 'x')).chain(
        (signature) => valuesOf(signature, variants - 1).map(([value]) => new Variant(signature, value))
      )
    case 'struct':
      return fc.tuple(...type.members.map((member) => valueOf(member, variants)))
    case 'array':
      if (type.element.kind === 'basic' && type.element.code === 'y')
        return fc.uint8Array({ maxLength: 9 }).map((bytes) => Buffer.from(bytes))
      return fc.array(valueOf(type.element, variants), { maxLength: 4 })
    case 'dict':
      return fc
        .array(fc.tuple(valueOf(type.key, variants), valueOf(type.value, variants)), { maxLength: 4 })
        .map((entries) => {
          if (!'sog'.includes(type.key.code)) return new Map(entries)
          const object = Object.create(null) as Record<string, unknown>
          for (const [key, value] of entries) object[key as string] = value
          return object
        })
  }
}

function valuesOf(signature: string, variants = 2): fc.Arbitrary<unknown[]> {
  return fc.tuple(...parseSignature(signature).map((type) => valueOf(type, variants)))
}

const samples: fc.Arbitrary<Sample> = signatures
  .filter((signature) => signature.length < 200)
  .chain((signature) => valuesOf(signature).map(([value]) => ({ signature, value })))

function signal(signature: string, body: unknown[]): BusMessage {
  return { type: 4, flags: 0, serial: 7, path: '/a', interface: 'a.b', member: 'C', signature, body, fds: [] }
}

function roundTrip(message: BusMessage): BusMessage {
  const [received] = new MessageParser().push(encodeMessage(message), message.fds)
  if (!received) throw new Error('no message')
  return received
}

function bodyOf(signature: string, body: unknown[]): Buffer {
  const bytes = encodeMessage(signal(signature, body))
  return bytes.subarray(bytes.length - bytes.readUInt32LE(4))
}

t.test('any value of any signature comes back as it was', (t) => {
  fc.assert(
    fc.property(samples, ({ signature, value }) => {
      if (!isDeepStrictEqual(roundTrip(signal(signature, [value])).body, [value])) throw new Error(signature)
    }),
    { ...settings, numRuns: 200 }
  )
  t.end()
})

t.test('damaged bodies throw nothing but ProtocolError', (t) => {
  fc.assert(
    fc.property(
      samples,
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      ({ signature, value }, damage, little) => {
        const bytes = Buffer.from(bodyOf(signature, [value]))
        for (const [at, byte] of damage) if (bytes.length > 0) bytes[at % bytes.length] = byte
        try {
          decodeValues(signature, bytes, little, [])
        } catch (error) {
          if (!(error instanceof ProtocolError)) throw error
        }
      }
    ),
    { ...settings, numRuns: 2000 }
  )
  t.end()
})

t.test('any text as a signature is parsed or a ProtocolError', (t) => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom(...('ybnqiuxtdsoghva(){}z'.match(/./g) ?? [])), maxLength: 300 }),
      (signature) => {
        try {
          parseSignature(signature)
        } catch (error) {
          if (!(error instanceof ProtocolError)) throw error
        }
      }
    ),
    { ...settings, numRuns: 2000 }
  )
  t.end()
})

t.test('dbus-next reads what we write, and we read what it writes', (t) => {
  const { marshallMessage, messageToJsFmt } = require('dbus-next/lib/marshall-compat.js') as {
    marshallMessage: (message: object) => [Buffer, number[]]
    messageToJsFmt: (message: object) => { body: unknown[] }
  }
  const { unmarshalMessages } = require('dbus-next/lib/message.js') as {
    unmarshalMessages: (stream: PassThrough, onMessage: (message: object) => void) => void
  }
  // dbus-next takes no dictionaries with other than text keys, no NaN, and its own empty objects have a prototype.
  const cases: [string, unknown[]][] = [
    ['s', ['äöü €']],
    ['yybnqiu', [1, 2, true, -3, 4, -5, 4294967295]],
    ['xtd', [-(2n ** 62n), 2n ** 63n, 0.5]],
    [
      'a(ssso)',
      [
        [
          ['a', 'b', 'c', '/d'],
          ['e', 'f', 'g', '/h']
        ]
      ]
    ],
    ['sa{sv}as', ['i.f', { A: new Variant('u', 1), B: new Variant('ay', Buffer.from('xyz')) }, ['Z']]],
    ['a{sas}', [{ one: ['1'], none: [] }]],
    ['yay', [7, Buffer.from([1, 2, 3])]],
    ['aad', [[[], [1.5], []]]],
    ['v', [new Variant('(sai)', ['x', [1, -2]])]],
    ['go', ['a{sv}', '/']]
  ]
  for (const [signature, body] of cases) {
    const ours = encodeMessage(signal(signature, body))
    const [theirs] = marshallMessage({ ...signal(signature, body), body: [...body] })
    const [received] = new MessageParser().push(theirs)
    t.same(received?.body, body, `${signature}: theirs read by us`)
    const stream = new PassThrough()
    stream.write(ours)
    let read = false
    unmarshalMessages(stream, (message) => {
      read = true
      t.same(messageToJsFmt(message).body, body, `${signature}: ours read by them`)
    })
    stream.emit('readable')
    t.ok(read)
  }
  t.end()
})

t.test('a struct that is kept encoded goes out as its members would', (t) => {
  const members = ['name', 'container', 'x', '/a']
  const kept = EncodedStruct.of('(ssso)', members)
  const plain = encodeMessage(signal('sa(ssso)', ['odd', [members, members, members]]))
  t.same(encodeMessage(signal('sa(ssso)', ['odd', [kept, members, kept]])), plain)
  t.same(encodeMessage(signal('sa(ssso)', ['odd', EncodedStruct.join([kept, kept, kept])])), plain)
  t.same(EncodedStruct.join([]), [])
  t.throws(() => EncodedStruct.of('(sh)', ['x', 1]), { name: 'TypeError' }, 'descriptors belong to one message')
  t.throws(() => EncodedStruct.of('s', ['x']), { name: 'TypeError' })
  t.end()
})

t.test('big-endian values are read', (t) => {
  t.same(decodeValues('unx', Buffer.from('00000102fffe0000' + 'ffffffffffffffff', 'hex'), false, []), [258, -2, -1n])
  t.same(decodeValues('as', Buffer.from('0000000700000002' + '686900', 'hex'), false, []), [['hi']])
  t.end()
})

t.test('values that break the specification are refused', (t) => {
  const bad: [string, string, string][] = [
    ['boolean 2', 'b', '02000000'],
    ['padding', 'yu', '0101000000000000'],
    ['short', 'u', '000000'],
    ['trailing bytes', 'y', '0000'],
    ['no terminator', 's', '0100000061ff'],
    ['NUL inside', 's', '03000000' + '61006200'],
    ['overlong UTF-8', 's', '02000000' + 'c08000'],
    ['UTF-8 surrogate', 's', '03000000' + 'eda08000'],
    ['object path', 'o', '02000000' + '2f2f00'],
    ['signature', 'g', '01' + '7a00'],
    ['two types in a variant', 'v', '02' + '797900' + '0000'],
    ['no type in a variant', 'v', '0000'],
    ['array over the end', 'au', '0800000001000000'],
    ['array ends within an element', 'au', '0600000001000000' + '02000000'],
    ['array over 64 MiB', 'ay', '01000004' + '00'],
    ['string length', 's', 'ffffffff' + '00'],
    ['descriptor', 'h', '00000000']
  ]
  for (const [name, signature, hex] of bad) {
    t.throws(() => decodeValues(signature, Buffer.from(hex, 'hex'), true, []), { name: 'ProtocolError' }, name)
  }
  // Each level: length 1, 'v', NUL. 64 variants in each other are allowed, more are not.
  const nested = (depth: number): Buffer => Buffer.from('017600'.repeat(depth - 1) + '017900' + '07', 'hex')
  t.ok(decodeValues('v', nested(64), true, []))
  t.throws(() => decodeValues('v', nested(65), true, []), { name: 'ProtocolError' })
  t.throws(() => decodeValues('v', nested(100000), true, []), { name: 'ProtocolError' })
  t.end()
})

t.test('signatures keep to the limits', (t) => {
  for (const signature of ['', 'a{sv}', 'a'.repeat(32) + 'y', '('.repeat(32) + 'y' + ')'.repeat(32), 'y'.repeat(255)]) {
    t.ok(codecOf(signature), signature)
  }
  const refused = [
    'a',
    '()',
    '(',
    ')',
    '(y',
    '{sv}',
    'a{vs}',
    'a{s}',
    'a{sss}',
    'a{sv',
    'z',
    'a'.repeat(33) + 'y',
    '('.repeat(33) + 'y' + ')'.repeat(33),
    'y'.repeat(256)
  ]
  for (const signature of refused) t.throws(() => codecOf(signature), { name: 'ProtocolError' }, signature)
  t.end()
})

t.test('our own bad values are TypeError or RangeError', (t) => {
  const bad: [string, unknown, string][] = [
    ['s', 1, 'TypeError'],
    ['s', 'a\0b', 'TypeError'],
    ['s', '\ud800', 'TypeError'],
    ['o', 'a', 'TypeError'],
    ['g', 'z', 'TypeError'],
    ['b', 1, 'TypeError'],
    ['y', 256, 'RangeError'],
    ['u', -1, 'RangeError'],
    ['i', 1.5, 'TypeError'],
    ['t', -1, 'RangeError'],
    ['x', 2n ** 63n, 'RangeError'],
    ['d', '1', 'TypeError'],
    ['as', 'a', 'TypeError'],
    ['(ss)', ['a'], 'TypeError'],
    ['a{ss}', 'a', 'TypeError'],
    ['v', 'a', 'TypeError'],
    ['v', new Variant('ss', 'a'), 'TypeError'],
    ['z', 1, 'TypeError']
  ]
  for (const [signature, value, name] of bad)
    t.throws(() => encodeMessage(signal(signature, [value])), { name }, `${signature} ${name}`)
  t.throws(() => encodeMessage(signal('s', [])), { name: 'TypeError' })
  t.same(roundTrip(signal('xt', [-1, 2])).body, [-1n, 2n], 'safe integers will do for 64 bits')
  t.end()
})

t.test('keys of dictionaries cannot reach a prototype', (t) => {
  const dict = roundTrip(
    signal('a{ss}', [
      new Map([
        ['__proto__', 'x'],
        ['toString', 'y']
      ])
    ])
  ).body[0] as Record<string, unknown>
  t.same(Object.keys(dict), ['__proto__', 'toString'])
  t.equal(dict['constructor'], undefined)
  t.end()
})

t.test('names', (t) => {
  for (const good of ['/', '/a', '/a/b_1', '/0']) t.ok(isValidObjectPath(good), good)
  for (const bad of ['', 'a', '//', '/a/', '/a-b', '/ä', '/a//b', '/@', '/[', '/`', '/{', '/\0'])
    t.notOk(isValidObjectPath(bad), bad)
  for (const good of ['a.b', '_a.b1']) t.ok(isValidInterface(good), good)
  for (const bad of ['', 'a', 'a.', '.a', 'a..b', 'a.1', 'a-b.c', `a.${'b'.repeat(254)}`])
    t.notOk(isValidInterface(bad), bad)
  t.ok(isValidMember('Get1'))
  for (const bad of ['', '1', 'a.b', 'a\n']) t.notOk(isValidMember(bad), bad)
  for (const good of [':1.42', 'a-b.c', ':a']) t.equal(isValidBusName(good), good !== ':a', good)
  for (const bad of ['', 'a', '1.a', ':', 'a.b:']) t.notOk(isValidBusName(bad), bad)
  t.end()
})

import fc from 'fast-check'
import t from 'tap'
import { encodeMessage, MessageParser, MessageQueue, ProtocolError, type BusMessage } from '../../daemon/bus/message.ts'

const settings = { seed: 20261123 }

function call(extra: Partial<BusMessage> = {}): BusMessage {
  return {
    type: 1,
    flags: 0,
    serial: 1,
    path: '/org/x',
    interface: 'org.x.Y',
    member: 'Do',
    destination: 'org.x',
    sender: ':1.5',
    signature: '',
    body: [],
    fds: [],
    ...extra
  }
}

const burst = (): BusMessage[] => [
  call(),
  call({ serial: 2, signature: 'sa{ss}', body: ['text', { a: 'b' }] }),
  call({ serial: 3, signature: 'hs', body: [11, 'x'] }),
  { type: 2, flags: 1, serial: 4, replySerial: 9, signature: 'ay', body: [Buffer.alloc(9000, 7)], fds: [] },
  { type: 3, flags: 0, serial: 5, replySerial: 9, errorName: 'a.b', signature: 's', body: ['no'], fds: [] },
  call({ type: 4, serial: 6, signature: 'ahu', body: [[21, 22], 1] })
]

const seen = (message: BusMessage): unknown[] => [
  message.type,
  message.flags,
  message.serial,
  message.path,
  message.member,
  message.replySerial,
  message.errorName,
  message.signature,
  message.body,
  message.fds
]

t.test('all header fields come back', (t) => {
  const [received] = new MessageParser().push(encodeMessage(call({ flags: 3 })))
  t.match(received, {
    type: 1,
    flags: 3,
    serial: 1,
    path: '/org/x',
    interface: 'org.x.Y',
    member: 'Do',
    destination: 'org.x',
    sender: ':1.5',
    signature: '',
    body: [],
    fds: []
  })
  t.end()
})

t.test('the first string is read without the rest of the body, which may be malformed', (t) => {
  const arg0 = (signature: string, body: unknown[], length?: number): string | undefined => {
    const bytes = encodeMessage(call({ signature, body }))
    return new MessageParser().push(length === undefined ? bytes : bytes.fill(0xff, bytes.length - length))[0]?.arg0
  }
  t.equal(arg0('sa{ss}', ['first', { a: 'b' }]), 'first')
  t.equal(arg0('su', ['first', 5], 4), 'first')
  t.equal(arg0('us', [5, 'second']), undefined)
  t.equal(arg0('', []), undefined)
  t.throws(() => arg0('s', ['first'], 10), ProtocolError)
  t.end()
})

t.test('messages cut anywhere are the same messages, each with its own descriptors', (t) => {
  const messages = burst()
  const bytes = messages.map(encodeMessage)
  const all = Buffer.concat(bytes)
  const starts = bytes.map((_, index) => bytes.slice(0, index).reduce((sum, part) => sum + part.length, 0))
  const wanted = messages.map(seen)
  const cuts = fc.oneof(fc.array(fc.nat(all.length), { maxLength: 12 }), fc.array(fc.nat(700), { maxLength: 40 }))
  fc.assert(
    fc.property(cuts, (positions) => {
      const parser = new MessageParser()
      const received: BusMessage[] = []
      const edges = [0, ...positions.sort((a, b) => a - b), all.length]
      for (let index = 1; index < edges.length; index++) {
        const [from = 0, to = 0] = [edges[index - 1], edges[index]]
        // As the kernel does it: descriptors come with the first byte of what they were sent with.
        const fds = messages.flatMap((message, at) =>
          (starts[at] ?? 0) >= from && (starts[at] ?? 0) < to ? message.fds : []
        )
        const chunk = Buffer.from(all.subarray(from, to))
        received.push(...parser.push(chunk, fds))
        chunk.fill(0xff)
      }
      if (parser.close().length > 0) throw new Error('descriptors left over')
      const got = received.map(seen)
      if (JSON.stringify(got) !== JSON.stringify(wanted)) throw new Error(JSON.stringify(got).slice(0, 2000))
    }),
    { ...settings, numRuns: 500 }
  )
  t.end()
})

t.test('damaged messages throw nothing but ProtocolError, and no descriptor is lost', (t) => {
  const all = Buffer.concat(burst().slice(0, 3).map(encodeMessage))
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(all.length - 1), fc.nat(255)), { minLength: 1, maxLength: 5 }), (damage) => {
      const bytes = Buffer.from(all)
      for (const [at, byte] of damage) bytes[at] = byte
      const parser = new MessageParser()
      const owned: number[] = []
      try {
        const messages = parser.push(bytes, [11])
        for (const message of messages) owned.push(...message.fds)
        for (const message of messages) t.ok(message.body)
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error
      }
      owned.push(...parser.close())
      if (owned.join() !== '11') throw new Error(`descriptors: ${owned.join()}`)
    }),
    { ...settings, numRuns: 3000 }
  )
  t.end()
})

t.test('headers that break the specification are refused', (t) => {
  const refused = (name: string, change: (bytes: Buffer) => unknown): void => {
    const bytes = encodeMessage(call({ signature: 's', body: ['x'] }))
    change(bytes)
    t.throws(() => new MessageParser().push(bytes), { name: 'ProtocolError' }, name)
  }
  refused('byte order', (b) => b.fill('x', 0, 1))
  refused('protocol version', (b) => b.writeUInt8(2, 3))
  refused('type 0', (b) => b.writeUInt8(0, 1))
  refused('serial 0', (b) => b.writeUInt32LE(0, 8))
  refused('body over 128 MiB', (b) => b.writeUInt32LE(2 ** 27, 4))
  refused('header over 64 MiB', (b) => b.writeUInt32LE(2 ** 26 + 8, 12))
  refused('field 0', (b) => b.writeUInt8(0, 16))
  refused('field twice', (b) => b.writeUInt8(2, 16))
  refused('type of a field', (b) => b.write('s', 18))
  refused('name in a field', (b) => b.write('x', 24))
  refused('missing field', (b) => b.writeUInt8(2, 1))
  for (const [field, value] of [
    ['path', '/org/freedesktop/DBus/Local'],
    ['interface', 'org.freedesktop.DBus.Local']
  ] as const) {
    t.throws(() => new MessageParser().push(encodeMessage(call({ [field]: value }))), { name: 'ProtocolError' }, value)
  }
  t.end()
})

t.test('unknown header fields and unknown message types are ignored', (t) => {
  const bytes = encodeMessage(call())
  const at = bytes.indexOf(':1.5') - 8
  bytes.writeUInt8(200, at)
  const other = encodeMessage(call())
  other.writeUInt8(77, 1)
  const messages = new MessageParser().push(Buffer.concat([other, bytes]))
  t.equal(messages.length, 1)
  t.equal(messages[0]?.sender, undefined)
  t.end()
})

t.test('a body is checked when it is asked for', (t) => {
  const bytes = encodeMessage(call({ signature: 'b', body: [true] }))
  bytes.writeUInt8(2, bytes.length - 4)
  const [message] = new MessageParser().push(bytes)
  t.throws(() => message?.body, { name: 'ProtocolError' })
  t.end()
})

t.test('descriptors', (t) => {
  const message = call({ signature: 'hhh', body: [5, 6, 5] })
  const bytes = encodeMessage(message)
  t.same(message.fds, [5, 6], 'are taken from the body, each once')
  t.same(new MessageParser().push(bytes, [105, 106])[0]?.body, [105, 106, 105])

  const short = new MessageParser()
  t.throws(() => short.push(bytes, [105]), { name: 'ProtocolError' }, 'fewer than the message says')
  t.same(short.close(), [105], 'are given back to be closed')

  const flood = new MessageParser()
  t.throws(
    () => {
      for (let index = 0; index < 2000; index++) flood.push(Buffer.alloc(0), [index])
    },
    { name: 'ProtocolError' },
    'are not queued without end'
  )
  t.equal(flood.close().length, 1025)
  t.same(call({ signature: 's' }).fds, [])
  const failing = call({ signature: 'hs', body: [5, 6] })
  t.throws(() => encodeMessage(failing), { name: 'TypeError' })
  t.same(failing.fds, [], 'are not taken when encoding fails')
  t.end()
})

/** All that the queue holds, as if the socket took at most `step` bytes at once; also the descriptors to be closed. */
function drain(queue: MessageQueue, step = Infinity): { data: Buffer; fds: readonly number[]; closed: number[] } {
  const parts: Buffer[] = []
  const fds: number[] = []
  const closed: number[] = []
  while (queue.length > 0) {
    const chunk = queue.next()
    const bytes = Math.min(step, chunk.data.length)
    parts.push(Buffer.from(chunk.data.subarray(0, bytes)))
    fds.push(...chunk.fds)
    closed.push(...queue.sent(bytes))
  }
  return { data: Buffer.concat(parts), fds, closed }
}

t.test('a queue puts messages together and begins a chunk where descriptors go along', (t) => {
  const queue = new MessageQueue()
  const messages = burst()
  for (const message of messages) queue.append(message)
  t.throws(
    () => {
      queue.append(call({ signature: 's', body: [1] }))
    },
    { name: 'TypeError' },
    'a bad message adds nothing'
  )
  t.throws(
    () => {
      queue.append(call({ signature: 'h', body: [5] }), false)
    },
    { name: 'TypeError' },
    'nor does one with descriptors where they cannot be passed'
  )
  const wanted = Buffer.concat(burst().map(encodeMessage))
  t.equal(queue.length, wanted.length)
  const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = burst().map(encodeMessage)
  t.equal(queue.next().data.length, first.length + second.length, 'two without descriptors in one')
  const drained = drain(queue)
  t.same(drained, { data: wanted, fds: [11, 21, 22], closed: [11, 21, 22] })
  t.end()
})

t.test('a queue whose socket takes little at once loses and repeats nothing', (t) => {
  const queue = new MessageQueue()
  const parser = new MessageParser()
  const serials: number[] = []
  const sent: number[] = []
  for (let serial = 1; serial <= 300; serial++) {
    const withFd = serial % 7 === 0
    const signature = withFd ? 'ayh' : 'ay'
    queue.append(
      call({ serial, signature, body: [Buffer.alloc(serial * 10, serial), ...(withFd ? [1000 + serial] : [])] })
    )
    const { data, fds } = queue.next()
    const bytes = Math.min(997, data.length)
    for (const message of parser.push(data.subarray(0, bytes), fds)) serials.push(message.serial)
    sent.push(...queue.sent(bytes))
  }
  t.ok(queue.length > 0)
  while (queue.length > 0) {
    const { data, fds } = queue.next()
    for (const message of parser.push(data, fds)) serials.push(message.serial)
    sent.push(...queue.sent(data.length))
  }
  t.same(
    serials,
    Array.from({ length: 300 }, (_, index) => index + 1)
  )
  t.equal(new Set(sent).size, 42)
  t.equal(sent.length, 42, 'each descriptor goes once')
  queue.append(call({ signature: 'h', body: [5] }))
  t.same(queue.clear(), [5], 'and what is not sent is given back to be closed')
  t.equal(queue.length, 0)
  t.end()
})

t.test('a message of more values than we can hold is refused when it is decoded', (t) => {
  const hostile = (signature: string, body: Buffer): BusMessage | undefined => {
    const bytes = encodeMessage(call({ signature: 'ay', body: [body] }))
    // The array's bytes as an array of something smaller.
    bytes.write(signature, bytes.indexOf('\u0002ay') + 1)
    return new MessageParser().push(bytes)[0]
  }
  t.equal((hostile('ab', Buffer.alloc(4 * 1000))?.body[0] as unknown[]).length, 1000)
  t.throws(() => hostile('ab', Buffer.alloc(4 * 1000 * 1000))?.body, { message: 'message has too many values' })
  const structs = call({
    signature: 'a(yyyyyyyy)',
    body: [Array.from({ length: 40_000 }, () => Array.from({ length: 8 }, () => 1))]
  })
  t.throws(() => new MessageParser().push(encodeMessage(structs))[0]?.body, { message: 'message has too many values' })
  const variants = call({ signature: 'a{yy}', body: [Array.from({ length: 140_000 }, () => [1, 1])] })
  t.throws(() => new MessageParser().push(encodeMessage(variants))[0]?.body, { message: 'message has too many values' })
  t.throws(
    () => new MessageParser(1000).push(encodeMessage(call({ signature: 'ay', body: [Buffer.alloc(900)] }))),
    { message: 'message is too long' },
    'a limit on bytes'
  )
  t.end()
})

t.test('remembered headers are not mixed up', (t) => {
  const parser = new MessageParser()
  for (let index = 0; index < 1000; index++) {
    const member = `Do${String(index % 300)}`
    const message = call({ member, serial: index + 1, flags: index % 2, signature: 'u', body: [index] })
    const [received] = parser.push(encodeMessage(message))
    t.match(received, { member, serial: index + 1, flags: index % 2, body: [index] })
  }
  t.end()
})

t.test('our own bad headers are refused', (t) => {
  for (const extra of [
    { path: 'x' },
    { path: undefined },
    { member: 'a.b' },
    { interface: 'a' },
    { destination: '1' },
    { serial: 0 },
    { type: 2 }
  ] as Partial<BusMessage>[]) {
    t.throws(() => encodeMessage(call(extra)), JSON.stringify(extra))
  }
  t.end()
})

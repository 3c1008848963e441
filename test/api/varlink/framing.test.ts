import t from 'tap'
import { FrameReader, MOST_BYTES, parseRequest } from '../../../daemon/api/varlink/framing.ts'

t.test('messages come out as they went in, wherever the stream was cut', (t) => {
  const messages = ['{"method":"a.B"}', '', 'x'.repeat(1000), '{}']
  const stream = Buffer.from(messages.map((message) => `${message}\0`).join(''))
  for (const size of [1, 2, 7, 512, stream.length]) {
    const reader = new FrameReader()
    const frames: string[] = []
    for (let at = 0; at < stream.length; at += size) {
      frames.push(...reader.push(stream.subarray(at, at + size)).map(String))
    }
    t.strictSame(frames, messages, `cut every ${String(size)} bytes`)
    t.equal(reader.pending, 0)
  }
  t.end()
})

t.test('a message of 16 MiB is the longest', (t) => {
  const reader = new FrameReader()
  const chunk = Buffer.alloc(1024 * 1024, 0x20)
  for (let size = 0; size < MOST_BYTES - chunk.length; size += chunk.length) t.strictSame(reader.push(chunk), [])
  const last = Buffer.concat([chunk.subarray(1), Buffer.of(0)])
  t.equal(reader.push(last)[0]?.length, MOST_BYTES - 1)
  for (let size = 0; size < MOST_BYTES; size += chunk.length) reader.push(chunk)
  t.throws(() => reader.push(chunk.subarray(0, 1)), { name: 'ProtocolError' })
  t.end()
})

t.test('a call is read with what it leaves out', (t) => {
  const call = { method: 'a.B', parameters: {}, oneway: false, more: false, upgrade: false }
  t.strictSame(parseRequest(Buffer.from('{"method":"a.B"}')), call)
  t.strictSame(parseRequest(Buffer.from('{"parameters":null,"method":"a.B","more":true}')), { ...call, more: true })
  t.end()
})

t.test('what is no call is refused', (t) => {
  const texts = ['', '[]', 'null', '1', '{}', '{"method":1}', '{"method":"a.B","more":1}', '{"method":"a.B","x":{}}']
  texts.push(
    '{"method":"a.B","parameters":[]}',
    '{"method":"a.B","oneway":true,"more":true}',
    '{"method":"a.B"',
    '\ufeff{}'
  )
  for (const text of texts) t.throws(() => parseRequest(Buffer.from(text)), { name: 'ProtocolError' }, text)
  t.throws(() => parseRequest(Buffer.from([0x22, 0xff, 0x22])), { name: 'ProtocolError' })
  t.end()
})

import { isUtf8 } from 'node:buffer'
import { closeFd } from '../../daemon/linux/libc.ts'
import { Poll } from '../../daemon/linux/poll.ts'
import { connectUnix, MessageReceiver, sendMessage } from '../../daemon/linux/unix-socket.ts'
import { VALID_CALLS } from './fuzz-calls.ts'
import { pick, randomOf, type Random } from './seeded-random.ts'

// Sends mutated Varlink calls; runs inside the test host, see fuzz.test.ts.
//
//   fuzz-client SEED COUNT    sends COUNT messages in all, and prints how many of these were calls, as JSON
//
// Whatever is a call has to be answered, and whatever is none has to end its connection; it fails otherwise.

const LANES = 32
const MOST_OF_CONNECTION = 200
/** As the daemon has them: deeper or fuller messages are no calls to it. */
const MOST_LEVELS = 128
const PATIENCE_MS = 20_000

type Value = null | boolean | number | string | Value[] | { [key: string]: Value }

const STRANGE: readonly Value[] = [
  null,
  true,
  -1,
  0,
  1.5,
  2 ** 53,
  '',
  'x',
  '\u0000',
  '\ud800',
  [],
  [[]],
  {},
  { pid: 0 }
]

/** Replaces, drops or adds something somewhere in a value. */
function mutate(random: Random, value: Value): Value {
  if (typeof value !== 'object' || value === null || random() < 0.2) return strange(random)
  if (Array.isArray(value)) return value.length === 0 ? [strange(random)] : value.map((item) => mutate(random, item))
  const copy = { ...value }
  const keys = Object.keys(copy)
  const key = pick(random, keys)
  const chance = random()
  if (keys.length === 0 || chance < 0.1) copy[pick(random, ['foo', 'name', 'pid', '__proto__'])] = strange(random)
  else if (chance < 0.3) Reflect.deleteProperty(copy, key)
  else copy[key] = mutate(random, copy[key] ?? null)
  return copy
}

/** Mostly what is still an object, so that it gets further. */
function mutateFields(random: Random, parameters: Readonly<Record<string, Value>>): Value {
  for (;;) {
    const mutated = mutate(random, { ...parameters })
    const isObject = typeof mutated === 'object' && mutated !== null && !Array.isArray(mutated)
    if (isObject || random() < 0.05) return mutated
  }
}

function strange(random: Random): Value {
  const chance = random()
  if (chance < 0.01) return 'x'.repeat(Math.floor(random() * 100_000))
  if (chance < 0.02) return JSON.parse('['.repeat(100) + ']'.repeat(100)) as Value
  return pick(random, STRANGE)
}

/** One message: a valid call with something done to it, or to its text. */
function messageOf(random: Random): { path: string; message: Buffer } {
  const { path, call } = pick(random, VALID_CALLS)
  const chance = random()
  if (chance < 0.25) return { path, message: Buffer.from(JSON.stringify(call)) }
  const { method, parameters } = call
  if (chance < 0.95) {
    return {
      path,
      message: Buffer.from(JSON.stringify({ ...call, method, parameters: mutateFields(random, parameters) }))
    }
  }
  return { path, message: damage(random, JSON.stringify(chance < 0.97 ? mutate(random, { ...call }) : call)) }
}

function damage(random: Random, text: string): Buffer {
  const at = Math.floor(random() * text.length)
  const chance = random()
  if (chance < 0.2) return Buffer.from(text.slice(0, at) + text.slice(at + 1))
  if (chance < 0.4) return Buffer.from(text.replace('{', `{"method":1,`))
  if (chance < 0.6) return Buffer.from(text.replace('}', `,"x":${'['.repeat(5000)}${']'.repeat(5000)}}`))
  if (chance < 0.8) return Buffer.from(text.replace(/\d+/, '9'.repeat(Math.floor(random() * 400))))
  const bytes = Buffer.from(text)
  // Not into a NUL, which would make two messages of one.
  bytes[at] = 1 + Math.floor(random() * 255)
  return bytes
}

/** Whether the daemon has to answer it, and with what; undefined for what is no call. */
function callOf(message: Buffer): { oneway: boolean } | undefined {
  let value: unknown
  try {
    if (!isUtf8(message) || depthOf(message) > MOST_LEVELS) return undefined
    value = JSON.parse(message.toString())
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const {
    method,
    parameters = null,
    oneway = false,
    more = false,
    upgrade = false,
    ...rest
  } = value as Record<string, unknown>
  const flags = [oneway, more, upgrade]
  const isCall =
    typeof method === 'string' &&
    typeof parameters === 'object' &&
    !Array.isArray(parameters) &&
    Object.keys(rest).length === 0 &&
    flags.every((flag) => typeof flag === 'boolean') &&
    flags.filter(Boolean).length <= 1
  return isCall ? { oneway: oneway === true } : undefined
}

function depthOf(message: Buffer): number {
  const open = message.filter((byte) => byte === 0x5b || byte === 0x7b).length
  if (open <= MOST_LEVELS) return open
  const walk = (value: unknown): number =>
    typeof value === 'object' && value !== null ? 1 + Math.max(0, ...Object.values(value).map(walk)) : 0
  return walk(JSON.parse(message.toString()))
}

/** Sends messages on one connection, cut anywhere; gives how many were calls when all of these are answered. */
async function converse(random: Random, path: string, messages: readonly Buffer[]): Promise<number> {
  const calls = messages.map(callOf)
  const firstBad = calls.indexOf(undefined)
  const good = firstBad < 0 ? calls : calls.slice(0, firstBad)
  const wanted = good.filter((call) => call?.oneway === false).length
  const socket = new Socket(path)
  const stream = Buffer.concat(messages.flatMap((message) => [message, Buffer.of(0)]))
  let answered = 0
  for (let at = 0; answered < wanted || firstBad >= 0;) {
    const piece = stream.subarray(at, at + 1 + Math.floor(random() ** 2 * stream.length))
    at += await socket.exchange(piece)
    answered += socket.answers()
    if (socket.ended) break
  }
  socket.close()
  if (answered === wanted) return good.length
  const sent = messages.map((message) => message.toString().slice(0, 2000)).join('\n')
  throw new Error(`${String(answered)} of ${String(wanted)} answered on ${path} to\n${sent}`)
}

const receiver = new MessageReceiver(64 * 1024)

/** Not Node's own: that takes a reply with a descriptor for the end when the connection was closed behind it. */
class Socket {
  ended = false
  readonly #fd: number
  readonly #poll: Poll
  #wake: () => void = () => undefined
  #received: Buffer[] = []

  constructor(path: string) {
    this.#fd = connectUnix(path)
    this.#poll = new Poll(
      this.#fd,
      () => {
        this.#wake()
      },
      { ownsFd: true }
    )
  }

  /** Sends what the socket takes, else waits and receives; gives how much was sent. */
  async exchange(piece: Buffer): Promise<number> {
    const sent = this.ended || piece.length === 0 ? 0 : this.#send(piece)
    if (sent === 0 && !this.ended) await this.#ready(piece.length > 0)
    this.#receive()
    return sent
  }

  /** How many calls were answered since it was last asked: of several replies to one, all but the last go on. */
  answers(): number {
    const replies = Buffer.concat(this.#received).toString().split('\0')
    this.#received = [Buffer.from(replies.pop() ?? '')]
    return replies.filter((reply) => (JSON.parse(reply) as { continues?: true }).continues !== true).length
  }

  close(): void {
    this.#poll.close()
  }

  #send(piece: Buffer): number {
    try {
      return sendMessage(this.#fd, piece) ?? 0
    } catch {
      // Cut off already; what was said before is still to be read.
      return piece.length
    }
  }

  #receive(): void {
    for (;;) {
      const received = receiver.receive(this.#fd)
      if (received === undefined) return
      received.fds.forEach(closeFd)
      if (received.bytes === 0) {
        this.ended = true
        return
      }
      this.#received.push(Buffer.from(receiver.buffer.subarray(0, received.bytes)))
    }
  }

  async #ready(writable: boolean): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error('Silence'))
      }, PATIENCE_MS)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
      this.#poll.start({ readable: true, writable })
    })
    this.#poll.stop()
  }
}

const [seed = 1, count = 1000] = process.argv.slice(2).map(Number)
let left = count
let answered = 0

async function lane(random: Random): Promise<void> {
  while (left > 0) {
    const first = messageOf(random)
    const messages = [first.message]
    const most = 1 + Math.floor(random() * MOST_OF_CONNECTION)
    while (messages.length < most && callOf(messages.at(-1) ?? first.message) !== undefined) {
      const next = messageOf(random)
      if (next.path === first.path) messages.push(next.message)
    }
    left -= messages.length
    const calls = await converse(random, first.path, messages)
    answered += calls
  }
}

await Promise.all(Array.from({ length: LANES }, (_, index) => lane(randomOf(seed * LANES + index))))
console.log(JSON.stringify({ sent: count - left, answered }))

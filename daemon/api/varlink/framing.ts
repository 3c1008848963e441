import { isUtf8 } from 'node:buffer'
import { parseJson, type Json, type JsonObject } from './json.ts'

/** Longest message, with its closing NUL (spec/varlink-and-clients.md A1.3). */
export const MOST_BYTES = 16 * 1024 * 1024

/** The peer does not speak Varlink; nothing is said to that, the connection ends. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'
}

const NOTHING = Buffer.alloc(0)

/** Cuts a stream into messages at the NUL bytes. */
export class FrameReader {
  #buffer = NOTHING
  #length = 0

  /** Bytes of a message that has not ended yet. */
  get pending(): number {
    return this.#length
  }

  /** Gives the messages that a chunk completes, without their NULs. Throws ProtocolError for one that is too long. */
  push(chunk: Buffer): Buffer[] {
    const frames: Buffer[] = []
    let start = 0
    for (let end = chunk.indexOf(0); end >= 0; end = chunk.indexOf(0, start)) {
      frames.push(this.#complete(chunk.subarray(start, end)))
      start = end + 1
    }
    this.#keep(chunk.subarray(start))
    return frames
  }

  #complete(part: Buffer): Buffer {
    this.#requireRoom(part.length + 1)
    if (this.#length === 0) return Buffer.from(part)
    const frame = Buffer.concat([this.#buffer.subarray(0, this.#length), part])
    this.#buffer = NOTHING
    this.#length = 0
    return frame
  }

  /** Into one buffer that doubles: of a stream that comes byte by byte, a list of chunks would be many times as big. */
  #keep(part: Buffer): void {
    if (part.length === 0) return
    this.#requireRoom(part.length)
    const length = this.#length + part.length
    if (length > this.#buffer.length) {
      const bigger = Buffer.allocUnsafeSlow(Math.max(2 * this.#buffer.length, length))
      this.#buffer.copy(bigger, 0, 0, this.#length)
      this.#buffer = bigger
    }
    part.copy(this.#buffer, this.#length)
    this.#length = length
  }

  #requireRoom(more: number): void {
    if (this.#length + more > MOST_BYTES) throw new ProtocolError('The message is too long')
  }
}

/** One method call as it came. */
export interface Request {
  readonly method: string
  readonly parameters: JsonObject
  readonly oneway: boolean
  readonly more: boolean
  readonly upgrade: boolean
}

const flags: ReadonlySet<string> = new Set(['oneway', 'more', 'upgrade'])

/** Reads a message as a call. Throws ProtocolError for anything that is none (spec/varlink-and-clients.md A2). */
export function parseRequest(frame: Buffer): Request {
  const message = parseMessage(frame)
  for (const [key, value] of Object.entries(message)) {
    const isKnown = key === 'method' || key === 'parameters' || (flags.has(key) && typeof value === 'boolean')
    if (!isKnown) throw new ProtocolError(`There is no such thing as '${key}' in a call`)
  }
  const { method, parameters = null, oneway = false, more = false, upgrade = false } = message
  if (typeof method !== 'string') throw new ProtocolError('The call names no method')
  if (parameters !== null && !isObject(parameters)) throw new ProtocolError('The parameters are no object')
  const request = { method, parameters: parameters ?? {}, oneway: oneway === true, more: more === true }
  if (Number(oneway) + Number(more) + Number(upgrade) > 1) throw new ProtocolError('The flags exclude one another')
  return { ...request, upgrade: upgrade === true }
}

function parseMessage(frame: Buffer): JsonObject {
  if (!isUtf8(frame)) throw new ProtocolError('The message is not UTF-8')
  let value: Json
  try {
    value = parseJson(frame.toString('utf8'))
  } catch (error) {
    throw new ProtocolError('The message is not JSON', { cause: error })
  }
  if (!isObject(value)) throw new ProtocolError('The message is no object')
  return value
}

/** Whether a JSON value is an object. */
export function isObject(value: Json): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

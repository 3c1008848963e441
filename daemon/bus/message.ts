import { codecOf, decodeValues } from './codec.ts'
import { fields, maxArrayLength, maxMessageLength, requiredFields, type BusMessage } from './message-format.ts'
import { checkName } from './names.ts'
import { latin1, Reader } from './reader.ts'
import { ProtocolError } from './signature.ts'

export { isValidBusName, isValidErrorName, isValidInterface, isValidMember, isValidObjectPath } from './names.ts'
export { maxMessageLength, type BusMessage } from './message-format.ts'
export { encodeMessage, MessageQueue, type Chunk } from './message-writer.ts'
export { ProtocolError } from './signature.ts'

/** What the fixed first 16 bytes of a message say. */
interface Start {
  readonly type: number
  readonly flags: number
  readonly serial: number
  readonly littleEndian: boolean
  /** Lengths in bytes; the header's includes these 16 and its padding. */
  readonly header: number
  readonly body: number
}

type FieldNames = 'path' | 'interface' | 'member' | 'errorName' | 'replySerial' | 'destination' | 'sender' | 'signature'

/** The header fields of a message. */
interface Header extends Pick<BusMessage, FieldNames> {
  fdCount: number
}

class ReceivedMessage implements BusMessage {
  type: 1 | 2 | 3 | 4
  flags: number
  serial: number
  path: string | undefined
  interface: string | undefined
  member: string | undefined
  errorName: string | undefined
  replySerial: number | undefined
  destination: string | undefined
  sender: string | undefined
  signature: string
  fds: number[]
  readonly #bytes: Buffer
  readonly #littleEndian: boolean
  #body: unknown[] | undefined

  constructor(start: Start, header: Header, bytes: Buffer, fds: number[]) {
    this.type = start.type as 1 | 2 | 3 | 4
    this.flags = start.flags
    this.serial = start.serial
    this.path = header.path
    this.interface = header.interface
    this.member = header.member
    this.errorName = header.errorName
    this.replySerial = header.replySerial
    this.destination = header.destination
    this.sender = header.sender
    this.signature = header.signature
    this.fds = fds
    this.#bytes = bytes
    this.#littleEndian = start.littleEndian
  }

  get arg0(): string | undefined {
    if (!this.signature.startsWith('s')) return undefined
    const [read] = codecOf('s').reads
    return read?.(new Reader(this.#bytes, this.#littleEndian, this.fds)) as string | undefined
  }

  get body(): unknown[] {
    return (this.#body ??= decodeValues(this.signature, this.#bytes, this.#littleEndian, this.fds))
  }
}

/** Reads the fixed part of the message at `at`, of which at least 16 bytes are there. Throws ProtocolError. */
function decodeStart(bytes: Buffer, at: number, maxLength: number): Start {
  const littleEndian = bytes[at] === 0x6c
  if (!littleEndian && bytes[at] !== 0x42) throw new ProtocolError('message has no byte order')
  if (bytes[at + 3] !== 1) throw new ProtocolError('message is not of protocol version 1')
  const type = bytes[at + 1] ?? 0
  if (type === 0) throw new ProtocolError('message has no type')
  const body = littleEndian ? bytes.readUInt32LE(at + 4) : bytes.readUInt32BE(at + 4)
  const serial = littleEndian ? bytes.readUInt32LE(at + 8) : bytes.readUInt32BE(at + 8)
  const fieldsLength = littleEndian ? bytes.readUInt32LE(at + 12) : bytes.readUInt32BE(at + 12)
  const header = fixedLength + Math.ceil(fieldsLength / 8) * 8
  if (fieldsLength > maxArrayLength || header + body > maxLength) throw new ProtocolError('message is too long')
  if (serial === 0) throw new ProtocolError('message has serial 0')
  return { type, flags: bytes[at + 2] ?? 0, serial, littleEndian, header, body }
}

const fixedLength = 16
const noFds: readonly number[] = []

/** Decodes the header fields of the message at `at`. Throws ProtocolError. */
function decodeHeader(bytes: Buffer, at: number, start: Start): Header {
  const end = at + start.header
  const reader = new Reader(bytes, start.littleEndian, noFds, at, end)
  const header: Header = {
    path: undefined,
    interface: undefined,
    member: undefined,
    errorName: undefined,
    replySerial: undefined,
    destination: undefined,
    sender: undefined,
    signature: '',
    fdCount: 0
  }
  reader.position = at + 12
  reader.end = at + fixedLength + reader.uint32()
  let seen = 0
  while (reader.position < reader.end) {
    reader.align(8)
    const code = bytes[reader.take(1)] ?? 0
    if (code === 0) throw new ProtocolError('message has a header field 0')
    if (code < fields.length) {
      if ((seen & (1 << code)) !== 0) throw new ProtocolError('message has a header field twice')
      seen |= 1 << code
    }
    decodeField(reader, header, code)
  }
  reader.end = end
  reader.align(8)
  if (header.path === '/org/freedesktop/DBus/Local' || header.interface === 'org.freedesktop.DBus.Local') {
    throw new ProtocolError('message uses a reserved name')
  }
  const required = start.type <= 4 ? requiredFields[start.type as BusMessage['type']] : []
  for (const field of required) {
    if (header[field] === undefined) throw new ProtocolError(`message has no ${field}`)
  }
  return header
}

function decodeField(reader: Reader, header: Header, code: number): void {
  const field = fields[code]
  if (!field) {
    const [read, ...others] = codecOf(reader.signature()).reads
    if (!read || others.length > 0) throw new ProtocolError('header field does not hold exactly one type')
    read(reader)
    return
  }
  const { bytes } = reader
  const at = reader.take(3)
  if (bytes[at] !== 1 || bytes[at + 1] !== field.type || bytes[at + 2] !== 0)
    throw new ProtocolError(`${field.name} has a wrong type`)
  switch (field.name) {
    case 'signature':
      header.signature = reader.signature()
      codecOf(header.signature)
      break
    case 'fdCount':
      header.fdCount = reader.uint32()
      break
    case 'replySerial':
      header.replySerial = reader.uint32()
      if (header.replySerial === 0) throw new ProtocolError('message replies to serial 0')
      break
    default:
      header[field.name] = checkName(field.name, reader.string())
  }
}

const callType = 1
/** The most descriptors that may wait for their message; one sendmsg(2) carries 253 at most. */
const maxQueuedFds = 1024
/** Bodies from here on are not copied out of the buffer in which their pieces were put together. */
const largeBody = 4096

const noBytes = Buffer.alloc(0)

function copyOf(bytes: Buffer, start: number, end: number): Buffer {
  if (start === end) return noBytes
  const copy = Buffer.allocUnsafe(end - start)
  bytes.copy(copy, 0, start, end)
  return copy
}

/** Headers of calls are remembered up to this many bytes each, and so many of them. */
const maxRememberedHeader = 512
const maxRememberedHeaders = 256

/** Cuts a stream of bytes into messages. After it threw it is of no more use but for `close`. */
export class MessageParser {
  readonly #maxLength: number
  #pending = noBytes
  #length = 0
  #fds: number[] = []
  /** A client that calls again sends the same header fields byte for byte; by these bytes they are known at once. */
  readonly #headers = new Map<string, Header>()

  /** `maxLength`: the longest message to accept, in bytes. */
  constructor(maxLength = maxMessageLength) {
    this.#maxLength = maxLength
  }

  /**
   * Takes the next bytes and the descriptors that came with them; returns the messages that are now complete. `chunk` may be
   * reused afterwards. Throws ProtocolError if the other side broke the specification; all descriptors are then left to `close`.
   */
  push(chunk: Buffer, fds: readonly number[] = []): BusMessage[] {
    const messages: BusMessage[] = []
    for (const fd of fds) this.#fds.push(fd)
    try {
      if (this.#fds.length > maxQueuedFds) throw new ProtocolError('too many descriptors wait for their message')
      if (this.#length === 0) {
        this.#keep(chunk, this.#parse(chunk, false, messages))
      } else {
        this.#append(chunk)
        const whole = this.#pending.subarray(0, this.#length)
        const position = this.#parse(whole, true, messages)
        if (position > 0) {
          this.#pending = noBytes
          this.#keep(whole, position)
        }
      }
    } catch (error) {
      this.#fds.unshift(...messages.flatMap((message) => message.fds))
      throw error
    }
    return messages
  }

  /** Forgets what is incomplete and returns the descriptors that belong to no message, for the caller to close. */
  close(): number[] {
    this.#pending = noBytes
    this.#length = 0
    return this.#fds.splice(0)
  }

  /** Parses what is complete in `bytes` and returns where the rest starts. `owned`: bodies may stay in `bytes`. */
  #parse(bytes: Buffer, owned: boolean, messages: BusMessage[]): number {
    let position = 0
    while (bytes.length - position >= fixedLength) {
      const start = decodeStart(bytes, position, this.#maxLength)
      const bodyAt = position + start.header
      const end = bodyAt + start.body
      if (end > bytes.length) break
      const header =
        start.type === callType ? this.#callHeader(bytes, position, start) : decodeHeader(bytes, position, start)
      if (start.body > 0 && header.signature === '') throw new ProtocolError('message has a body but no signature')
      if (header.fdCount > this.#fds.length) throw new ProtocolError('message has fewer descriptors than it says')
      if (start.type <= 4) {
        const body = owned && start.body >= largeBody ? bytes.subarray(bodyAt, end) : copyOf(bytes, bodyAt, end)
        const fds = header.fdCount === 0 ? [] : this.#fds.splice(0, header.fdCount)
        messages.push(new ReceivedMessage(start, header, body, fds))
      } else if (header.fdCount > 0) {
        // Unknown types are to be ignored, but nobody would close their descriptors.
        throw new ProtocolError('message of an unknown type has descriptors')
      }
      position = end
    }
    return position
  }

  #callHeader(bytes: Buffer, at: number, start: Start): Header {
    if (start.header > maxRememberedHeader) return decodeHeader(bytes, at, start)
    // With their length, which also differs by byte order.
    const key = latin1(bytes, at + 12, at + start.header)
    let header = this.#headers.get(key)
    if (header === undefined) {
      header = decodeHeader(bytes, at, start)
      // Peers choose the headers, so the memory for them has to be bounded; the usual ones are soon back.
      if (this.#headers.size >= maxRememberedHeaders) this.#headers.clear()
      this.#headers.set(key, header)
    }
    return header
  }

  #keep(bytes: Buffer, from: number): void {
    this.#length = 0
    if (from < bytes.length) this.#append(bytes.subarray(from))
  }

  #append(bytes: Buffer): void {
    const needed = this.#length + bytes.length
    if (needed > this.#pending.length) {
      // Grows with what has come and not with what was announced: announcing costs the other side nothing.
      const larger = Buffer.allocUnsafe(Math.max(needed, this.#pending.length * 2))
      this.#pending.copy(larger, 0, 0, this.#length)
      this.#pending = larger
    }
    bytes.copy(this.#pending, this.#length)
    this.#length = needed
  }
}

/** Decodes a message's body now, so that a malformed one fails here and not in its handler. Throws ProtocolError. */
export function requireDecodable(message: BusMessage): void {
  Reflect.get(message, 'body')
}

import { outgoingCodecOf } from './codec.ts'
import { fields, maxMessageLength, requiredFields, type BusMessage } from './message-format.ts'
import { nameChecks } from './names.ts'
import { Writer } from './writer.ts'

const littleEndian = 0x6c
const protocolVersion = 1

function writeMessage(writer: Writer, message: BusMessage, withFds: boolean): void {
  writer.start = writer.position
  writer.depth = 0
  writer.fds = message.fds.length === 0 ? [] : [...message.fds]
  if (!(message.serial > 0)) throw new RangeError('message has no serial')
  for (const field of requiredFields[message.type]) {
    if (message[field] === undefined || message[field] === '') throw new TypeError(`message has no ${field}`)
  }
  writer.byte(littleEndian)
  writer.byte(message.type)
  writer.byte(message.flags)
  writer.byte(protocolVersion)
  writer.uint32(0)
  writer.basic('u', message.serial)
  writer.uint32(0)
  if (message.path) writeName(writer, 1, 'path', message.path)
  if (message.interface) writeName(writer, 2, 'interface', message.interface)
  if (message.member) writeName(writer, 3, 'member', message.member)
  if (message.errorName) writeName(writer, 4, 'errorName', message.errorName)
  if (message.replySerial !== undefined) {
    writeFieldStart(writer, 5)
    writer.basic('u', message.replySerial === 0 ? undefined : message.replySerial)
  }
  if (message.destination) writeName(writer, 6, 'destination', message.destination)
  if (message.sender) writeName(writer, 7, 'sender', message.sender)
  if (message.signature !== '') {
    writeFieldStart(writer, 8)
    // writeBody finds out whether it is one.
    writer.signature(message.signature)
  }
  if (withFds) {
    writeFieldStart(writer, 9)
    writer.uint32(0)
  }
  const fdCountAt = writer.position - 4
  const fieldsLength = writer.position - writer.start - 16
  writer.align(8)
  const bodyAt = writer.position
  writeBody(writer, message)
  if (writer.position - writer.start > maxMessageLength) throw new RangeError('message is longer than 128 MiB')
  if (writer.fds.length > 0 && !withFds) {
    // Only a value deep in the body told that there are descriptors, and the header has to say so. Rare, so once more.
    writer.position = writer.start
    writeMessage(writer, message, true)
    return
  }
  writer.buffer.writeUInt32LE(writer.position - bodyAt, writer.start + 4)
  writer.buffer.writeUInt32LE(fieldsLength, writer.start + 12)
  if (withFds) writer.buffer.writeUInt32LE(writer.fds.length, fdCountAt)
}

function writeBody(writer: Writer, { signature, body }: BusMessage): void {
  const { writes } = outgoingCodecOf(signature)
  if (body.length !== writes.length) throw new TypeError('body does not have as many values as its signature')
  for (let index = 0; index < writes.length; index++) writes[index]?.(writer, body[index])
}

function writeName(writer: Writer, code: number, field: keyof typeof nameChecks, value: string): void {
  if (!nameChecks[field](value)) throw new TypeError(`invalid ${field}: ${value}`)
  writeFieldStart(writer, code)
  writer.string(value)
}

function writeFieldStart(writer: Writer, code: number): void {
  writer.align(8)
  writer.reserve(4)
  const { buffer, position } = writer
  buffer[position] = code
  buffer[position + 1] = 1
  buffer[position + 2] = fields[code]?.type ?? 0
  buffer[position + 3] = 0
  writer.position = position + 4
}

/** Appends `message` to what `writer` holds. If it throws, the writer and the message's descriptors are as before. */
function appendMessage(writer: Writer, message: BusMessage): void {
  const before = writer.position
  try {
    writeMessage(writer, message, message.fds.length > 0)
  } catch (error) {
    writer.position = before
    throw error
  }
  for (let index = message.fds.length; index < writer.fds.length; index++) message.fds.push(writer.fds[index] ?? -1)
}

/**
 * The bytes of `message`; descriptors in its body are appended to its `fds`, to be sent along in that order.
 * Throws TypeError or RangeError for values that do not fit.
 */
export function encodeMessage(message: BusMessage): Buffer {
  const writer = new Writer(512)
  appendMessage(writer, message)
  return writer.buffer.subarray(0, writer.position)
}

/** Bytes for one sendmsg(2), with the descriptors that go along with the first of them. */
export interface Chunk {
  data: Buffer
  fds: readonly number[]
}

const bufferSize = 65536
/** The largest buffer that stays when it has been sent. */
const maxKept = 1024 * 1024
const none: readonly number[] = []

/**
 * The messages on their way out, one behind the other in one buffer: what piles up within a turn of the loop leaves in
 * one send, and sending allocates nothing.
 */
export class MessageQueue {
  #writer = new Writer(bufferSize)
  /** Where what is not sent yet begins. */
  #start = 0
  /** Where messages with descriptors begin: these must not go before the message, nor after its first byte. */
  #marks: { at: number; fds: readonly number[] }[] = []

  /** How many bytes wait. */
  get length(): number {
    return this.#writer.position - this.#start
  }

  /**
   * Adds `message` at the end and takes its descriptors over. Throws as `encodeMessage` does, and TypeError for one with
   * descriptors where these cannot be passed; then nothing was added.
   */
  append(message: BusMessage, canPassFds = true): void {
    this.#makeRoom()
    const at = this.#writer.position
    appendMessage(this.#writer, message)
    if (message.fds.length === 0) return
    if (!canPassFds) {
      this.#writer.position = at
      throw new TypeError('The bus does not pass file descriptors')
    }
    this.#marks.push({ at, fds: message.fds })
  }

  /** Adds bytes that are no message. */
  appendBytes(bytes: Uint8Array): void {
    this.#writer.raw(bytes)
  }

  /** What to send next. The bytes are valid until the next append. */
  next(): Chunk {
    const [mark, following] = this.#marks
    const begins = mark?.at === this.#start
    const end = (begins ? following : mark)?.at ?? this.#writer.position
    return { data: this.#writer.buffer.subarray(this.#start, end), fds: begins ? mark.fds : none }
  }

  /** Says that so many bytes are sent; gives back the descriptors that went along, to be closed. */
  sent(bytes: number): readonly number[] {
    const fds = bytes > 0 && this.#marks[0]?.at === this.#start ? this.#marks.shift()?.fds : undefined
    this.#start += bytes
    if (this.length === 0) this.#reset()
    return fds ?? none
  }

  /** Forgets everything; gives back the descriptors. */
  clear(): number[] {
    const fds = this.#marks.flatMap((mark) => mark.fds)
    this.#reset()
    return fds
  }

  #reset(): void {
    this.#marks.length = 0
    this.#start = this.#writer.position = 0
    // A buffer that one big message made large is not kept.
    if (this.#writer.buffer.length > maxKept) this.#writer = new Writer(bufferSize)
  }

  /** Moves what waits to the front before the buffer would grow for the sake of bytes that are sent already. */
  #makeRoom(): void {
    if (this.#start < bufferSize || this.#start < this.#writer.position / 2) return
    const { buffer, position } = this.#writer
    buffer.copyWithin(0, this.#start, position)
    for (const mark of this.#marks) mark.at -= this.#start
    this.#writer.position = position - this.#start
    this.#start = 0
  }
}

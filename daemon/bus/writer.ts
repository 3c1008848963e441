import { maxArrayLength, maxDepth, maxMessageLength } from './message-format.ts'
import { isValidObjectPath } from './names.ts'
import { parseSignature, ProtocolError, type BasicCode } from './signature.ts'

/**
 * Little-endian values, written one after another into a buffer that grows. Alignment counts from `start`, so that many messages
 * can share the buffer. Values that do not fit their type throw TypeError or RangeError.
 */
export class Writer {
  buffer: Buffer
  /** Where the message being written starts. */
  start = 0
  position = 0
  depth = 0
  /** The descriptors of the message being written. */
  fds: number[] = []

  constructor(size: number) {
    this.buffer = Buffer.allocUnsafe(size)
  }

  /** Makes room for `length` more bytes, if need be in a larger buffer. */
  reserve(length: number): void {
    const needed = this.position + length
    if (needed <= this.buffer.length) return
    if (needed - this.start > maxMessageLength + 1024) throw new RangeError('message is longer than 128 MiB')
    const larger = Buffer.allocUnsafe(Math.max(needed, this.buffer.length * 2))
    this.buffer.copy(larger, 0, 0, this.position)
    this.buffer = larger
  }

  align(alignment: number): void {
    this.reserve(8)
    while (((this.position - this.start) & (alignment - 1)) !== 0) this.buffer[this.position++] = 0
  }

  byte(value: number): void {
    this.reserve(1)
    this.buffer[this.position++] = value
  }

  uint32(value: number): void {
    this.align(4)
    this.reserve(4)
    this.#put32(value, this.position)
    this.position += 4
  }

  #put32(value: number, at: number): void {
    const { buffer } = this
    buffer[at] = value
    buffer[at + 1] = value >>> 8
    buffer[at + 2] = value >>> 16
    buffer[at + 3] = value >>> 24
  }

  raw(bytes: Uint8Array): void {
    this.reserve(bytes.length)
    this.buffer.set(bytes, this.position)
    this.position += bytes.length
  }

  /** A string with its length before and NUL after it. */
  string(value: unknown): void {
    if (typeof value !== 'string') throw new TypeError('string expected')
    this.align(4)
    this.reserve((value.length > 1024 ? Buffer.byteLength(value) : value.length * 3) + 5)
    const lengthAt = this.position
    this.position += 4
    this.#text(value)
    this.#put32(this.position - lengthAt - 4, lengthAt)
    this.buffer[this.position++] = 0
  }

  /** A signature that is known to be valid. */
  signature(value: string): void {
    const { length } = value
    this.reserve(length + 2)
    const { buffer } = this
    buffer[this.position++] = length
    for (let index = 0; index < length; index++) buffer[this.position++] = value.charCodeAt(index)
    buffer[this.position++] = 0
  }

  #text(value: string): void {
    const { buffer, position } = this
    const { length } = value
    // Up to here a loop is faster than the call into C++.
    if (length <= 96) {
      let index = 0
      for (; index < length; index++) {
        const code = value.charCodeAt(index)
        if (code === 0 || code > 127) break
        buffer[position + index] = code
      }
      if (index === length) {
        this.position = position + length
        return
      }
    }
    // Half a surrogate pair has no UTF-8, and Node would quietly write something else.
    if (/[\0\p{Surrogate}]/u.test(value)) throw new TypeError('string contains NUL or half a character')
    this.position += buffer.write(value, position, 'utf8')
  }

  /** Starts an array whose elements have this alignment. The result is for `closeArray`. */
  openArray(alignment: number): { lengthAt: number; first: number } {
    this.enter()
    this.uint32(0)
    const lengthAt = this.position - 4
    this.align(alignment)
    return { lengthAt, first: this.position }
  }

  closeArray(array: { lengthAt: number; first: number }): void {
    const length = this.position - array.first
    if (length > maxArrayLength) throw new RangeError('array is longer than 64 MiB')
    this.buffer.writeUInt32LE(length, array.lengthAt)
    this.depth--
  }

  enter(): void {
    if (++this.depth > maxDepth) throw new RangeError('values are nested too deeply')
  }

  basic(code: BasicCode, value: unknown): void {
    switch (code) {
      case 's':
        this.string(value)
        return
      case 'o':
        if (typeof value !== 'string' || !isValidObjectPath(value)) throw new TypeError('object path expected')
        this.string(value)
        return
      case 'g':
        this.signature(checkSignature(value))
        return
      case 'b':
        if (typeof value !== 'boolean') throw new TypeError('boolean expected')
        this.uint32(value ? 1 : 0)
        return
      case 'y':
        this.byte(integer(value, 0, 0xff))
        return
      case 'u':
        this.uint32(integer(value, 0, 0xffffffff))
        return
      case 'i':
        this.uint32(integer(value, -0x80000000, 0x7fffffff) >>> 0)
        return
      case 'h':
        this.uint32(this.#fdIndex(integer(value, 0, 0x7fffffff)))
        return
      case 'n':
      case 'q':
        this.align(2)
        this.reserve(2)
        this.position = this.buffer.writeUInt16LE(
          code === 'q' ? integer(value, 0, 0xffff) : integer(value, -0x8000, 0x7fff) & 0xffff,
          this.position
        )
        return
      default:
        this.#eightBytes(code, value)
    }
  }

  #eightBytes(code: 'x' | 't' | 'd', value: unknown): void {
    this.align(8)
    this.reserve(8)
    if (code === 'd') {
      if (typeof value !== 'number') throw new TypeError('number expected')
      this.position = this.buffer.writeDoubleLE(value, this.position)
      return
    }
    if (typeof value !== 'bigint' && !Number.isSafeInteger(value)) throw new TypeError('bigint or integer expected')
    const wide = BigInt(value as bigint | number)
    // Both throw RangeError for what does not fit.
    this.position =
      code === 'x'
        ? this.buffer.writeBigInt64LE(wide, this.position)
        : this.buffer.writeBigUInt64LE(wide, this.position)
  }

  #fdIndex(fd: number): number {
    const index = this.fds.indexOf(fd)
    return index === -1 ? this.fds.push(fd) - 1 : index
  }
}

function integer(value: unknown, least: number, most: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value)) throw new TypeError('integer expected')
  if (value < least || value > most)
    throw new RangeError(`${String(value)} is not between ${String(least)} and ${String(most)}`)
  return value
}

function checkSignature(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError('signature expected')
  try {
    parseSignature(value)
  } catch (error) {
    if (error instanceof ProtocolError) throw new TypeError('signature is not valid', { cause: error })
    throw error
  }
  return value
}

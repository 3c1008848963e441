import { isUtf8 } from 'node:buffer'
import { maxDepth, maxValues } from './message-format.ts'
import { ProtocolError } from './signature.ts'

/** What Buffer.toString calls in the end; short strings spend as long on the way there. Node's types leave it out. */
type FastBuffer = Buffer & { latin1Slice(start: number, end: number): string }

/** The bytes from `start` to `end` as a string of one character each. */
export function latin1(bytes: Buffer, start: number, end: number): string {
  return (bytes as FastBuffer).latin1Slice(start, end)
}

/** A position in received bytes. Alignment counts from `base`. Whatever is not as specified throws ProtocolError. */
export class Reader {
  readonly bytes: Buffer
  readonly littleEndian: boolean
  readonly fds: readonly number[]
  readonly base: number
  position: number
  end: number
  depth = 0
  #values = 0

  constructor(bytes: Buffer, littleEndian: boolean, fds: readonly number[], base = 0, end = bytes.length) {
    this.bytes = bytes
    this.littleEndian = littleEndian
    this.fds = fds
    this.base = base
    this.position = base
    this.end = end
  }

  /** Steps over zero padding to a multiple of `alignment`. */
  align(alignment: number): void {
    let { position } = this
    while (((position - this.base) & (alignment - 1)) !== 0) {
      if (position >= this.end) throw new ProtocolError('value ends early')
      if (this.bytes[position++] !== 0) throw new ProtocolError('padding is not zero')
    }
    this.position = position
  }

  /** Takes `length` bytes and returns where they start. */
  take(length: number): number {
    const start = this.position
    if (length > this.end - start) throw new ProtocolError('value ends early')
    this.position = start + length
    return start
  }

  uint32(): number {
    this.align(4)
    const at = this.take(4)
    const { bytes } = this
    // take() has checked the bounds; Buffer's own methods would again, and this is where most of the time goes.
    const a = bytes[at] as number
    const b = bytes[at + 1] as number
    const c = bytes[at + 2] as number
    const d = bytes[at + 3] as number
    return (this.littleEndian ? a | (b << 8) | (c << 16) | (d << 24) : (a << 24) | (b << 16) | (c << 8) | d) >>> 0
  }

  /** Text of `length` bytes and its final NUL. */
  text(length: number): string {
    const { bytes } = this
    const start = this.take(length + 1)
    const end = start + length
    if (bytes[end] !== 0) throw new ProtocolError('string is not terminated')
    if (length <= 64) {
      let index = start
      // 1..127: below it wraps around for NUL, so that one comparison does both checks.
      while (index < end && ((bytes[index] ?? 0) - 1) >>> 0 < 127) index++
      if (index === end) return latin1(bytes, start, end)
    }
    const slice = bytes.subarray(start, end)
    if (slice.includes(0)) throw new ProtocolError('string contains NUL')
    if (!isUtf8(slice)) throw new ProtocolError('string is not UTF-8')
    return bytes.toString('utf8', start, end)
  }

  string(): string {
    return this.text(this.uint32())
  }

  signature(): string {
    return this.text(this.bytes[this.take(1)] ?? 0)
  }

  /** Counts values that are about to be made. */
  count(values: number): void {
    this.#values += values
    if (this.#values > maxValues) throw new ProtocolError('message has too many values')
  }

  enter(): void {
    if (++this.depth > maxDepth) throw new ProtocolError('values are nested too deeply')
  }
}

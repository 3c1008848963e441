import { Variant } from './client-bus.ts'
import { maxArrayLength } from './message-format.ts'
import { isValidObjectPath } from './names.ts'
import { elementAlignment, parseSignature, ProtocolError, type BasicCode, type Type } from './signature.ts'
import { Reader } from './reader.ts'
import { Writer } from './writer.ts'

type Read = (reader: Reader) => unknown
type Write = (writer: Writer, value: unknown) => void

/** The values of one signature, in both directions. */
export interface Codec {
  readonly reads: readonly Read[]
  readonly writes: readonly Write[]
}

const basicReads: Readonly<Record<BasicCode, Read>> = {
  y: (r) => r.bytes[r.take(1)],
  b: (r) => {
    const value = r.uint32()
    if (value > 1) throw new ProtocolError('boolean is neither 0 nor 1')
    return value === 1
  },
  n: (r) => (r.align(2), r.littleEndian ? r.bytes.readInt16LE(r.take(2)) : r.bytes.readInt16BE(r.take(2))),
  q: (r) => (r.align(2), r.littleEndian ? r.bytes.readUInt16LE(r.take(2)) : r.bytes.readUInt16BE(r.take(2))),
  i: (r) => r.uint32() | 0,
  u: (r) => r.uint32(),
  x: (r) => (r.align(8), r.littleEndian ? r.bytes.readBigInt64LE(r.take(8)) : r.bytes.readBigInt64BE(r.take(8))),
  t: (r) => (r.align(8), r.littleEndian ? r.bytes.readBigUInt64LE(r.take(8)) : r.bytes.readBigUInt64BE(r.take(8))),
  d: (r) => (r.align(8), r.littleEndian ? r.bytes.readDoubleLE(r.take(8)) : r.bytes.readDoubleBE(r.take(8))),
  s: (r) => r.string(),
  o: (r) => {
    const path = r.string()
    if (!isValidObjectPath(path)) throw new ProtocolError('object path is not valid')
    return path
  },
  g: (r) => {
    const signature = r.signature()
    codecOf(signature)
    return signature
  },
  h: (r) => {
    const fd = r.fds[r.uint32()]
    if (fd === undefined) throw new ProtocolError('message has no descriptor of this index')
    return fd
  }
}

/** Reads the length of an array, lets `readElements` read up to its end, and takes care that they end exactly there. */
function readArray<T>(reader: Reader, alignment: number, readElements: (length: number) => T): T {
  const length = reader.uint32()
  if (length > maxArrayLength) throw new ProtocolError('array is longer than 64 MiB')
  reader.align(alignment)
  const outerEnd = reader.end
  if (length > outerEnd - reader.position) throw new ProtocolError('array ends early')
  reader.enter()
  reader.end = reader.position + length
  const result = readElements(length)
  reader.end = outerEnd
  reader.depth--
  return result
}

function reads(type: Type): Read {
  if (type.kind === 'basic') return basicReads[type.code]
  if (type.kind === 'variant') return readVariant
  if (type.kind === 'struct') {
    const members = type.members.map(reads)
    return (r) => {
      r.align(8)
      r.enter()
      r.count(members.length)
      const values: unknown[] = []
      for (const read of members) values.push(read(r))
      r.depth--
      return values
    }
  }
  const alignment = elementAlignment(type)
  if (type.kind === 'dict') {
    const readKey = reads(type.key)
    const readValue = reads(type.value)
    const readEntries = (r: Reader, add: (key: unknown, value: unknown) => void): void => {
      r.enter()
      while (r.position < r.end) {
        r.align(8)
        r.count(2)
        const key = readKey(r)
        add(key, readValue(r))
      }
      r.depth--
    }
    if (!'sog'.includes(type.key.code)) {
      return (r) =>
        readArray(r, alignment, () => {
          const map = new Map<unknown, unknown>()
          readEntries(r, (key, value) => map.set(key, value))
          return map
        })
    }
    return (r) =>
      readArray(r, alignment, () => {
        // No prototype: a key such as "__proto__" is a key like any other.
        const object = Object.create(null) as Record<string, unknown>
        readEntries(r, (key, value) => {
          object[key as string] = value
        })
        return object
      })
  }
  if (type.element.kind === 'basic' && type.element.code === 'y') {
    return (r) =>
      readArray(r, 1, (length) => {
        const start = r.take(length)
        return r.bytes.subarray(start, start + length)
      })
  }
  const readElement = reads(type.element)
  return (r) =>
    readArray(r, alignment, () => {
      const values: unknown[] = []
      while (r.position < r.end) {
        r.count(1)
        values.push(readElement(r))
      }
      return values
    })
}

function readVariant(reader: Reader): Variant {
  const signature = reader.signature()
  const [read, ...others] = codecOf(signature).reads
  if (!read || others.length > 0) throw new ProtocolError('variant does not hold exactly one type')
  reader.enter()
  const value = read(reader)
  reader.depth--
  return new Variant(signature, value)
}

/**
 * A struct in its encoded form, for one that is sent again and again: structs begin at multiples of 8, so their bytes are
 * the same wherever they stand. It can be given in place of the array of members.
 */
export class EncodedStruct {
  readonly bytes: Uint8Array

  private constructor({ buffer, position }: Writer) {
    this.bytes = Uint8Array.from(buffer.subarray(0, position))
  }

  /** `signature` is the struct's, with its parentheses, and has no descriptors in it. Throws as writing does. */
  static of(signature: string, members: readonly unknown[]): EncodedStruct {
    if (!signature.startsWith('(') || signature.includes('h'))
      throw new TypeError(`${signature} cannot be kept encoded`)
    const writer = new Writer(256)
    outgoingCodecOf(signature).writes[0]?.(writer, members)
    return new EncodedStruct(writer)
  }

  /** An array of structs with the same bytes but fewer elements, for one that is long and sent again and again. */
  static join(structs: readonly EncodedStruct[]): EncodedStruct[] {
    if (structs.length === 0) return []
    const writer = new Writer(structs.reduce((size, { bytes }) => size + bytes.length + 8, 0))
    for (const { bytes } of structs) {
      writer.align(8)
      writer.raw(bytes)
    }
    return [new EncodedStruct(writer)]
  }
}

function writeString(writer: Writer, value: unknown): void {
  writer.string(value)
}

function writes(type: Type): Write {
  if (type.kind === 'basic') {
    const { code } = type
    // Most values are strings; the others go by their code each time.
    if (code === 's') return writeString
    return (w, value) => {
      w.basic(code, value)
    }
  }
  if (type.kind === 'variant') return writeVariant
  if (type.kind === 'struct') {
    const members = type.members.map(writes)
    return (w, value) => {
      if (value instanceof EncodedStruct) {
        w.align(8)
        w.raw(value.bytes)
        return
      }
      if (!Array.isArray(value) || value.length !== members.length)
        throw new TypeError('struct needs an array of its members')
      w.align(8)
      w.enter()
      for (let index = 0; index < members.length; index++) members[index]?.(w, value[index])
      w.depth--
    }
  }
  const alignment = elementAlignment(type)
  if (type.kind === 'dict') {
    const writeKey = writes(type.key)
    const writeValue = writes(type.value)
    return (w, value) => {
      const start = w.openArray(alignment)
      w.enter()
      for (const [key, entry] of entriesOf(value)) {
        w.align(8)
        writeKey(w, key)
        writeValue(w, entry)
      }
      w.depth--
      w.closeArray(start)
    }
  }
  const bytes = type.element.kind === 'basic' && type.element.code === 'y'
  const writeElement = writes(type.element)
  return (w, value) => {
    const start = w.openArray(alignment)
    if (bytes && value instanceof Uint8Array) w.raw(value)
    else if (!Array.isArray(value)) throw new TypeError('array expected')
    else for (const element of value as unknown[]) writeElement(w, element)
    w.closeArray(start)
  }
}

/** Dictionaries are given as a Map, as an array of pairs, or as an object. */
function entriesOf(value: unknown): Iterable<readonly [unknown, unknown]> {
  if (value instanceof Map) return value as Map<unknown, unknown>
  if (Array.isArray(value)) return value as [unknown, unknown][]
  if (typeof value === 'object' && value !== null) return Object.entries(value)
  throw new TypeError('dictionary expected')
}

function writeVariant(writer: Writer, value: unknown): void {
  if (!(value instanceof Variant)) throw new TypeError('Variant expected')
  const { signature, value: content } = value as { signature: string; value: unknown }
  const [write, ...others] = outgoingCodecOf(signature).writes
  if (!write || others.length > 0) throw new TypeError('variant does not hold exactly one type')
  writer.signature(signature)
  writer.enter()
  write(writer, content)
  writer.depth--
}

// Peers choose the signatures, so what is remembered has to be bounded; the oldest goes first.
const maxCodecs = 512
const codecs = new Map<string, Codec>()

/** The readers and writers of `signature`, made once and remembered. Throws ProtocolError if it is not valid. */
export function codecOf(signature: string): Codec {
  const known = codecs.get(signature)
  if (known) return known
  const types = parseSignature(signature)
  const codec = { reads: types.map(reads), writes: types.map(writes) }
  if (codecs.size >= maxCodecs)
    for (const oldest of codecs.keys()) {
      codecs.delete(oldest)
      break
    }
  codecs.set(signature, codec)
  return codec
}

/** As `codecOf`, but throws TypeError: a bad signature of our own is our bug and not the peer's. */
export function outgoingCodecOf(signature: string): Codec {
  try {
    return codecOf(signature)
  } catch (cause) {
    throw new TypeError('signature is not valid', { cause })
  }
}

/** Reads the values of `signature`, which have to fill `bytes` exactly. Throws ProtocolError. */
export function decodeValues(
  signature: string,
  bytes: Buffer,
  littleEndian: boolean,
  fds: readonly number[]
): unknown[] {
  if (signature === '' && bytes.length === 0) return []
  const reader = new Reader(bytes, littleEndian, fds)
  const values: unknown[] = []
  for (const read of codecOf(signature).reads) values.push(read(reader))
  if (reader.position !== bytes.length) throw new ProtocolError('message body is longer than its signature')
  return values
}

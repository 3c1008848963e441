import { checked, declare, failedWith } from './libc.ts'

/*
 * What statx(2) says, links followed: with the time a file was made, its attributes and its mount, of which Node's own
 * fs.Stats has none.
 */

/** statx(2) as the C library has it: -1 for a failure. */
export const statx = declare<(fd: number, name: Buffer, flags: number, mask: number, into: Buffer) => number>(
  'statx',
  'int',
  ['int', 'void *', 'int', 'uint', 'void *']
)

const c = {
  fstatfs: declare<(fd: number, into: Buffer) => number>('fstatfs', 'int', ['int', 'void *']),
  getxattr: declare<(path: string, name: string, into: Buffer, size: number) => number>('getxattr', 'long', [
    'str',
    'str',
    'void *',
    'size_t'
  ])
}

/** All that is asked for: the basic fields, the time of birth, the number of the mount. */
export const STATX_MASK = 0x7ff | 0x800 | 0x1000
const LENGTH = 256
const ATTRIBUTES = 8
const UID = 20
const MODE = 28
const INODE = 32
const SIZE = 40
const BLOCKS = 48
const ATIME = 64
const BIRTH = 80
const CTIME = 96
const MTIME = 112
const MOUNT = 144
/** How long it is up to there, in words of 32 bits. */
export const STATUS_WORDS = 38
const BIRTH_KNOWN = 0x800
const IMMUTABLE = 0x10
const READ_ONLY = 1
const FLAGS_OF_STATFS = 80
const AT_EMPTY_PATH = 0x1000
const AT_STATX_DONT_SYNC = 0x4000
const NO_NAME = Buffer.alloc(1)
/** The kernel's clock for time stamps stands still for a while, the stamps of FAT and of old ext file systems for seconds. */
const CLOCK_TICK_US = 20_000n
const COARSE_STEP_US = 2_100_000n

export type FileKind = 'directory' | 'regular' | 'block' | 'other'
const kinds: Readonly<Record<number, FileKind>> = { 0o040000: 'directory', 0o100000: 'regular', 0o060000: 'block' }

/** What is known of a file, read from the kernel's own structure as needed. Times are in microseconds since 1970. */
export class FileStatus {
  readonly raw: Buffer
  /** The bytes that were asked for, for comparing, where each call into C++ would take longer than all of it. */
  readonly words: Int32Array

  /** `raw` is that of another one, in case. */
  constructor({ buffer, byteOffset }: Uint8Array = new Uint8Array(LENGTH)) {
    this.raw = Buffer.from(buffer, byteOffset, LENGTH)
    this.words = new Int32Array(buffer, byteOffset, STATUS_WORDS)
  }

  /** Looks at a name in an open directory, or at a path when it is absolute. The name ends with a zero. */
  read(directory: number, name: Buffer): void {
    checked(statx(directory, name, 0, STATX_MASK, this.raw), 'statx')
  }

  /** The same, but says whether there is such a file, where an error would cost more than the look. */
  tryRead(directory: number, name: Buffer): boolean {
    const result = statx(directory, name, 0, STATX_MASK, this.raw)
    if (result === -1 && failedWith('ENOENT')) return false
    checked(result, 'statx')
    return true
  }

  /** Looks at an open file; O_PATH will do. */
  readOpen(fd: number): void {
    checked(statx(fd, NO_NAME, AT_EMPTY_PATH, STATX_MASK, this.raw), 'statx')
  }

  /** The same as far as it is known: a file system whose files are elsewhere is to ask nobody. */
  readKnown(fd: number): void {
    checked(statx(fd, NO_NAME, AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MASK, this.raw), 'statx')
  }

  /** Whether a file that changes after `now` (microseconds since 1970), or later, gets another time stamp for that. */
  isSettled(now: bigint): boolean {
    const { changed } = this
    return changed < now - (changed % 1_000_000n === 0n ? COARSE_STEP_US : CLOCK_TICK_US)
  }

  /** Whether nothing is different, leaving the time of last access aside. */
  equals(other: FileStatus): boolean {
    return isSameStatus(this.words, 0, other.words)
  }

  get kind(): FileKind {
    return kinds[this.raw.readUInt16LE(MODE) & 0o170000] ?? 'other'
  }

  /** Whether there is a write bit for anyone. */
  get isWritable(): boolean {
    return (this.raw.readUInt16LE(MODE) & 0o222) !== 0
  }

  /** As chattr(1) sets it. */
  get isImmutable(): boolean {
    return (this.raw.readUInt32LE(ATTRIBUTES) & IMMUTABLE) !== 0
  }

  get uid(): number {
    return this.raw.readUInt32LE(UID)
  }

  get inode(): bigint {
    return this.raw.readBigUInt64LE(INODE)
  }

  /** Bytes. */
  get size(): bigint {
    return this.raw.readBigUInt64LE(SIZE)
  }

  /** Bytes on the disk. */
  get allocated(): bigint {
    return this.raw.readBigUInt64LE(BLOCKS) * 512n
  }

  /** When it was made; undefined where the file system does not say. */
  get birth(): bigint | undefined {
    return (this.raw.readUInt32LE(0) & BIRTH_KNOWN) === 0 ? undefined : this.#time(BIRTH)
  }

  /** When its content changed. */
  get modified(): bigint {
    return this.#time(MTIME)
  }

  /** When anything about it changed, extended attributes included. */
  get changed(): bigint {
    return this.#time(CTIME)
  }

  /** The number of the mount it is reached by, which another can get later. */
  get mount(): number {
    return Number(this.raw.readBigUInt64LE(MOUNT))
  }

  #time(at: number): bigint {
    return this.raw.readBigInt64LE(at) * 1_000_000n + BigInt(Math.floor(this.raw.readUInt32LE(at + 8) / 1000))
  }
}

/** Whether the words of two statuses are the same, those of the first being some of many, leaving the time of last access aside. */
export function isSameStatus(words: Int32Array, start: number, others: Int32Array): boolean {
  for (let at = 0; at < ATIME / 4; at++) if (words[start + at] !== others[at]) return false
  for (let at = BIRTH / 4; at < STATUS_WORDS; at++) if (words[start + at] !== others[at]) return false
  return true
}

/** Whether an open file (O_PATH will do) is on a mount or a file system that says it is read-only. */
export function isOnReadOnlyMount(fd: number): boolean {
  const status = Buffer.alloc(120)
  return c.fstatfs(fd, status) === 0 && (status.readUInt32LE(FLAGS_OF_STATFS) & READ_ONLY) !== 0
}

/** An extended attribute, links followed; undefined when it is longer than `limit` bytes, not there or not to be had. */
export function readAttribute(path: string, name: string, limit: number): Buffer | undefined {
  const value = Buffer.alloc(limit)
  const length = c.getxattr(path, name, value, limit)
  return length === -1 ? undefined : value.subarray(0, length)
}

/* Where statx(2) puts things, in words of 32 bits. */
const NLINK = 4
const UID = 5
const GID = 6
const MODE = 7
const INODE = 8
const SIZE = 10
const BLOCKS = 12
const ATIME = 16
const CTIME = 24
const RDEV_MAJOR = 32
const DEVICE = 34
const HIGH = 2 ** 32

export const S_IFMT = 0o170000

/** What statx(2) says of a file that is copied, read from the kernel's own structure as needed: by words, as that is quickest. */
export class CopyStatus {
  readonly raw: Buffer
  readonly #words: Uint32Array
  readonly #times: Buffer

  constructor(raw = Buffer.allocUnsafeSlow(256)) {
    this.raw = raw
    this.#words = new Uint32Array(raw.buffer, raw.byteOffset, 64)
    this.#times = raw.subarray(CTIME * 4, CTIME * 4 + 32)
  }

  clone(): CopyStatus {
    const raw = Buffer.allocUnsafeSlow(256)
    this.raw.copy(raw)
    return new CopyStatus(raw)
  }

  /** The kind of file, one of the S_IF constants. */
  get type(): number {
    return this.#word(MODE) & S_IFMT
  }

  /** Permission bits, with those for set-ID and sticky. */
  get mode(): number {
    return this.#word(MODE) & 0o7777
  }

  get inode(): bigint {
    return this.raw.readBigUInt64LE(INODE * 4)
  }

  get links(): number {
    return this.#word(NLINK)
  }

  get uid(): number {
    return this.#word(UID)
  }

  get gid(): number {
    return this.#word(GID)
  }

  get size(): number {
    return this.#long(SIZE)
  }

  /** Whether there are holes in it. */
  get isSparse(): boolean {
    return this.#long(BLOCKS) * 512 < this.size
  }

  /** The device that a node stands for, as a dev_t of Linux. */
  get standsFor(): number {
    const [major, minor] = [this.#word(RDEV_MAJOR), this.#word(RDEV_MAJOR + 1)]
    return (minor & 0xff) + (major & 0xfff) * 0x100 + (minor >>> 8) * 0x100000
  }

  /** Which file it is: the same for two names of one file. */
  get identity(): string {
    return this.raw.toString('hex', INODE * 4, INODE * 4 + 8) + this.raw.toString('hex', DEVICE * 4, DEVICE * 4 + 8)
  }

  /** The times of last access and modification as two struct timespec, valid until the next look. */
  get times(): Buffer {
    // The latter is behind that of the last change, which nobody can set: its place is free for the former.
    for (let at = 0; at < 4; at++) this.#words[CTIME + at] = this.#word(ATIME + at)
    return this.#times
  }

  #word(at: number): number {
    return this.#words[at] ?? 0
  }

  #long(at: number): number {
    return this.#word(at) + this.#word(at + 1) * HIGH
  }
}

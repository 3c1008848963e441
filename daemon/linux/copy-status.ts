const NLINK = 16
const UID = 20
const GID = 24
const MODE = 28
const INODE = 32
const SIZE = 40
const BLOCKS = 48
const ATIME = 64
const MTIME = 112
const RDEV_MAJOR = 128
const RDEV_MINOR = 132
const DEVICE = 136

export const S_IFMT = 0o170000

/** What statx(2) says of a file that is copied, read from the kernel's own structure as needed. */
export class CopyStatus {
  readonly raw: Buffer

  constructor(raw = Buffer.alloc(256)) {
    this.raw = raw
  }

  clone(): CopyStatus {
    return new CopyStatus(Buffer.from(this.raw))
  }

  /** The kind of file, one of the S_IF constants. */
  get type(): number {
    return this.raw.readUInt16LE(MODE) & S_IFMT
  }

  /** Permission bits, with those for set-ID and sticky. */
  get mode(): number {
    return this.raw.readUInt16LE(MODE) & 0o7777
  }

  get inode(): bigint {
    return this.raw.readBigUInt64LE(INODE)
  }

  get links(): number {
    return this.raw.readUInt32LE(NLINK)
  }

  get uid(): number {
    return this.raw.readUInt32LE(UID)
  }

  get gid(): number {
    return this.raw.readUInt32LE(GID)
  }

  get size(): number {
    return Number(this.raw.readBigUInt64LE(SIZE))
  }

  /** Whether there are holes in it. */
  get isSparse(): boolean {
    return Number(this.raw.readBigUInt64LE(BLOCKS)) * 512 < this.size
  }

  /** The device that a node stands for, as a dev_t of Linux. */
  get standsFor(): number {
    const [major, minor] = [this.raw.readUInt32LE(RDEV_MAJOR), this.raw.readUInt32LE(RDEV_MINOR)]
    return (minor & 0xff) + (major & 0xfff) * 0x100 + (minor >>> 8) * 0x100000
  }

  /** Which file it is: the same for two names of one file. */
  get identity(): string {
    return this.raw.toString('hex', INODE, INODE + 8) + this.raw.toString('hex', DEVICE, DEVICE + 8)
  }

  /** Puts the times of last access and modification into two struct timespec. */
  copyTimes(times: Buffer): void {
    this.raw.copy(times, 0, ATIME, ATIME + 12)
    this.raw.copy(times, 16, MTIME, MTIME + 12)
  }
}

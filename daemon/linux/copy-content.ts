import { constants as os } from 'node:os'
import { isSystemError, systemError } from '../base/errors.ts'
import type { CopyControl } from './copy-control.ts'
import type { CopyStatus } from './copy-status.ts'
import { copyFileRange, readInto, seek, sendFile, truncate, writeFrom } from './file-at.ts'
import { ioctl } from './libc.ts'

const FICLONE = 0x40049409
const SEEK_SET = 0
const SEEK_DATA = 3
const SEEK_HOLE = 4
/** So much is read at once, and a file of no more is not worth asking the kernel for anything better. */
const BUFFER_SIZE = 256 * 1024
/** How much is copied before somebody can cancel it. */
const CHUNK = 16 * 1024 * 1024
/** Files of /proc and the like say that they are empty. A file that says so and never ends is given up. */
const MOST_OF_EMPTY = 64 * 1024 * 1024

const isUnsupported = (error: unknown): boolean =>
  isSystemError(error) && ['EXDEV', 'EOPNOTSUPP', 'ENOTSUP', 'EINVAL', 'ENOTTY', 'ENOSYS'].includes(error.code)

/** Copies what is in regular files, remembering which of the kernel's ways work where it copies. */
export class ContentCopier {
  readonly #control: CopyControl
  readonly #buffer = Buffer.allocUnsafeSlow(BUFFER_SIZE)
  #reflinks = true
  /** The first may do without copying at all; the second works from one file system to another. */
  #ways = [copyFileRange, sendFile]

  constructor(control: CopyControl) {
    this.#control = control
  }

  /**
   * Fills the empty file `output` from `input`, as much as `status` says: a file that grows faster than it is copied
   * has an end, too. Holes stay holes. Throws ECANCELED, EFBIG, what reading and writing fail with.
   */
  copy(input: number, output: number, status: CopyStatus): void {
    const { size } = status
    if (size === 0) this.#copyUnknown(input, output)
    else if (!this.#reflink(input, output, size)) {
      if (status.isSparse) this.#copySparse(input, output, size)
      else this.#copyRange(input, output, size)
    }
  }

  #reflink(input: number, output: number, size: number): boolean {
    if (!this.#reflinks) return false
    try {
      ioctl(output, FICLONE, input)
      this.#control.count(size, 0)
      return true
    } catch (error) {
      if (!isUnsupported(error)) throw error
      this.#reflinks = false
      return false
    }
  }

  #copyUnknown(input: number, output: number): void {
    if (this.#copyByBuffer(input, output, MOST_OF_EMPTY) < MOST_OF_EMPTY) return
    throw systemError(os.errno.EFBIG, 'read')
  }

  #copySparse(input: number, output: number, size: number): void {
    for (let end = 0; end < size;) {
      const start = seekOr(input, end, SEEK_DATA, { ENXIO: size, EINVAL: end })
      if (start >= size) break
      end = Math.min(size, seekOr(input, start, SEEK_HOLE, { ENXIO: size, EINVAL: size }))
      seek(input, start, SEEK_SET)
      seek(output, start, SEEK_SET)
      this.#copyRange(input, output, end - start)
    }
    truncate(output, size)
  }

  /** Stops early where the file ends early. */
  #copyRange(input: number, output: number, length: number): void {
    let rest = length
    for (let way = this.#ways[0]; way !== undefined && rest > BUFFER_SIZE; way = this.#ways[0]) {
      this.#control.throwIfCancelled()
      const copied = this.#copyByKernel(way, input, output, Math.min(rest, CHUNK))
      // Some file systems give nothing here, though there is something to read.
      if (copied === 0) break
      rest -= copied ?? 0
    }
    this.#copyByBuffer(input, output, rest)
  }

  /** Undefined when this way does not work here, which is not tried again then. */
  #copyByKernel(way: typeof copyFileRange, input: number, output: number, length: number): number | undefined {
    try {
      const copied = way(input, output, length)
      this.#control.count(copied, 0)
      return copied
    } catch (error) {
      if (!isUnsupported(error)) throw error
      this.#ways.shift()
      return undefined
    }
  }

  /** Gives how much there was. */
  #copyByBuffer(input: number, output: number, length: number): number {
    let done = 0
    while (done < length) {
      this.#control.throwIfCancelled()
      const count = readInto(input, this.#buffer, Math.min(length - done, BUFFER_SIZE))
      if (count === 0) break
      writeFrom(output, this.#buffer, count)
      this.#control.count(count, 0)
      done += count
    }
    return done
  }
}

/** lseek(2), with what to take for the errors it may have. */
function seekOr(fd: number, offset: number, whence: number, instead: { ENXIO: number; EINVAL: number }): number {
  try {
    return seek(fd, offset, whence)
  } catch (error) {
    if (isSystemError(error) && (error.code === 'ENXIO' || error.code === 'EINVAL')) return instead[error.code]
    throw error
  }
}

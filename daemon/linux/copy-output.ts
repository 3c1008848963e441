import { constants as fs } from 'node:fs'
import { constants as os } from 'node:os'
import { isSystemError, systemError } from '../base/errors.ts'
import { CopyStatus } from './copy-status.ts'
import { type Entry, linkThrough, nameOf, openAt, statAt, unlinkAt } from './file-at.ts'
import type { ProcDescriptors } from './proc-descriptors.ts'

const O_TMPFILE = 0x400000 | fs.O_DIRECTORY
/** Smaller ones are written at once; to be without a name takes three calls more. */
const NAMELESS_FROM = 256 * 1024
const here = nameOf('.')

/**
 * Makes the files that are copied to. Big ones get their name when they are whole, where the file system can do that, so that
 * whatever ends us before leaves no half of one.
 */
export class OutputFiles {
  readonly #descriptors: ProcDescriptors
  readonly #status = new CopyStatus()
  #canBeNameless = true
  /** Whether that is so of the file that is made just now. */
  #isNameless = false

  constructor(descriptors: ProcDescriptors) {
    this.#descriptors = descriptors
  }

  /** Makes a file and gives a descriptor to write it. Throws EEXIST. */
  open(target: Entry, size: number, mode: number): number {
    const nameless = size < NAMELESS_FROM ? undefined : this.#openNameless(target, mode)
    this.#isNameless = nameless !== undefined
    return nameless ?? openAt(target, fs.O_WRONLY | fs.O_CREAT | fs.O_EXCL | fs.O_NOFOLLOW, mode)
  }

  /** Gives what open() made last its name, if it has none yet. Throws EEXIST. */
  complete(fd: number, target: Entry): void {
    if (this.#isNameless) linkThrough(this.#descriptors.entryOf(fd), target)
  }

  /** Takes it away, half as it is. */
  discard(target: Entry): void {
    if (!this.#isNameless) unlinkAt(target)
  }

  #openNameless(target: Entry, mode: number): number | undefined {
    if (!this.#canBeNameless) return undefined
    if (this.#exists(target)) throw systemError(os.errno.EEXIST, 'openat')
    try {
      return openAt({ directory: target.directory, name: here }, fs.O_WRONLY | O_TMPFILE, mode)
    } catch (error) {
      if (!isSystemError(error) || !['EOPNOTSUPP', 'ENOTSUP', 'EISDIR', 'EINVAL'].includes(error.code)) throw error
      this.#canBeNameless = false
      return undefined
    }
  }

  #exists(target: Entry): boolean {
    try {
      statAt(target, this.#status.raw)
      return true
    } catch (error) {
      if (isSystemError(error) && error.code === 'ENOENT') return false
      throw error
    }
  }
}

import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { isSystemError, systemError } from '../base/errors.ts'
import { checked, declare } from './libc.ts'

const fcntl = declare<(fd: number, command: number, lock: Buffer) => number>('fcntl', 'int', ['int', 'int', 'void *'])

const F_OFD_SETLK = 37
const types = { shared: 0, exclusive: 1 }
const { O_CREAT, O_NOCTTY, O_NOFOLLOW, O_RDWR } = fs.constants

export type LockKind = 'shared' | 'exclusive'

/** A lock in a form that survives the way between threads, which share descriptors. */
export interface HeldLock {
  readonly path: string
  readonly fd: number
  readonly kind: LockKind
}

/**
 * A lock that is a file: whoever has an open-file-description lock (fcntl(2)) on all of it. The one who knows that nobody else
 * has it open deletes the file on release.
 */
export class FileLock {
  readonly #path: string
  readonly #fd: number
  readonly #kind: LockKind

  private constructor(path: string, fd: number, kind: LockKind) {
    this.#path = path
    this.#fd = fd
    this.#kind = kind
  }

  /** Takes it without waiting; makes the file. Throws EBUSY when somebody else has it. */
  static take(path: string, kind: LockKind): FileLock {
    for (;;) {
      const fd = fs.openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NOCTTY, 0o600)
      try {
        lockAll(fd, kind)
        // Whoever had it may have deleted it after we opened it.
        if (fs.fstatSync(fd).nlink > 0) return new FileLock(path, fd, kind)
      } catch (error) {
        fs.closeSync(fd)
        throw error
      }
      fs.closeSync(fd)
    }
  }

  /** Takes over a lock from another thread. */
  static adopt({ path, fd, kind }: HeldLock): FileLock {
    return new FileLock(path, fd, kind)
  }

  /** For `adopt` in another thread: it is no longer ours then. */
  hand(): HeldLock {
    return { path: this.#path, fd: this.#fd, kind: this.#kind }
  }

  /** Gives it back. */
  release(): void {
    try {
      if (this.#kind === 'shared') lockAll(this.#fd, 'exclusive')
      fs.unlinkSync(this.#path)
    } catch (error) {
      if (!isSystemError(error)) throw error
    } finally {
      fs.closeSync(this.#fd)
    }
  }
}

function lockAll(fd: number, kind: LockKind): void {
  // struct flock; a length of 0 is up to the end, wherever that is.
  const lock = Buffer.alloc(32)
  lock.writeInt16LE(types[kind], 0)
  try {
    checked(fcntl(fd, F_OFD_SETLK, lock), 'fcntl')
  } catch (error) {
    const isTaken = isSystemError(error) && (error.code === 'EAGAIN' || error.code === 'EACCES')
    throw isTaken ? systemError(os.errno.EBUSY, 'fcntl') : error
  }
}

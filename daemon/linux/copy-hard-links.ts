import { constants } from 'node:fs'
import { ifPossible, isSystemError } from '../base/errors.ts'
import type { CopyStatus } from './copy-status.ts'
import { forEachEntry } from './directory-entries.ts'
import {
  type Entry,
  linkAt,
  makeDirectoryAt,
  nameOf,
  openAt,
  removeDirectoryAt,
  replaceAt,
  unlinkAt
} from './file-at.ts'
import { closeFd } from './libc.ts'
import { randomHex } from './random.ts'

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants

/**
 * Finds out which files are one and the same under several names. What was copied of such a file is linked into a
 * directory that is there for the time of the copy, under a name that says which file it was: this takes no memory,
 * no path has to be looked up again, and threads can share it.
 */
export class HardLinks {
  readonly #entry: Entry
  /** The directory, once it is there. */
  #directory: number | undefined

  /** Makes the directory in this one when it is needed. `directory` is one that another thread has made already. */
  constructor(parent: number, directory?: number) {
    this.#entry = { directory: parent, name: nameOf(`.#copy${randomHex(8)}`) }
    this.#directory = directory
  }

  /** The directory, for another thread; undefined when it cannot be. */
  share(): number | undefined {
    return ifPossible(() => this.#open())
  }

  /** Makes `target` one more name of what was copied of this file. False when nothing was, or it cannot be. Throws EEXIST. */
  link(status: CopyStatus, target: Entry): boolean {
    if (status.links < 2 || this.#directory === undefined) return false
    try {
      linkAt({ directory: this.#directory, name: nameOf(status.identity) }, target)
      return true
    } catch (error) {
      if (isSystemError(error) && error.code === 'EEXIST') throw error
      return false
    }
  }

  /** Says that `target` is the copy of this file. Where that cannot be kept, its other names become files of their own. */
  remember(status: CopyStatus, target: Entry): void {
    if (status.links < 2) return
    try {
      const entry = { directory: this.#open(), name: nameOf(status.identity) }
      if (isLinked(target, entry)) return
      // Another thread was faster with another name of it.
      const other = { directory: entry.directory, name: nameOf(randomHex(8)) }
      linkAt(entry, other)
      replaceAt(other, target)
    } catch (error) {
      if (!isSystemError(error)) throw error
    }
  }

  /** Removes the directory; what somebody else put in there stays. */
  close(): void {
    const directory = this.#directory
    if (directory === undefined) return
    this.#directory = undefined
    try {
      forEachEntry(directory, Buffer.alloc(32 * 1024), (name) => {
        unlinkAt({ directory, name })
      })
      removeDirectoryAt(this.#entry)
    } catch (error) {
      if (!isSystemError(error)) throw error
    } finally {
      closeFd(directory)
    }
  }

  #open(): number {
    if (this.#directory === undefined) {
      makeDirectoryAt(this.#entry, 0o700)
      this.#directory = openAt(this.#entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
    }
    return this.#directory
  }
}

function isLinked(target: Entry, entry: Entry): boolean {
  try {
    linkAt(target, entry)
    return true
  } catch (error) {
    if (isSystemError(error) && error.code === 'EEXIST') return false
    throw error
  }
}

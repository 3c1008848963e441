import { constants } from 'node:fs'
import { isSystemError } from '../base/errors.ts'
import type { CopyStatus } from './copy-status.ts'
import { forEachEntry } from './directory-entries.ts'
import { type Entry, linkAt, makeDirectoryAt, nameOf, openAt, removeDirectoryAt, unlinkAt } from './file-at.ts'
import { closeFd } from './libc.ts'
import { randomHex } from './random.ts'

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants

/**
 * Finds out which files are one and the same under several names. What was copied of such a file is linked into a
 * directory that is there for the time of the copy, under a name that says which file it was: this takes no memory,
 * and no path has to be looked up again.
 */
export class HardLinks {
  /** Where the directory is to be made. */
  readonly #parent: number
  #place: { entry: Entry; directory: number } | undefined

  constructor(parent: number) {
    this.#parent = parent
  }

  /** Makes `target` one more name of what was copied of this file. False when nothing was, or it cannot be. Throws EEXIST. */
  link(status: CopyStatus, target: Entry): boolean {
    if (status.links < 2 || this.#place === undefined) return false
    try {
      linkAt({ directory: this.#place.directory, name: nameOf(status.identity) }, target)
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
      this.#place ??= this.#makePlace()
      linkAt(target, { directory: this.#place.directory, name: nameOf(status.identity) })
    } catch (error) {
      if (!isSystemError(error)) throw error
    }
  }

  /** Removes the directory; what somebody else put in there stays. */
  close(): void {
    if (this.#place === undefined) return
    const { entry, directory } = this.#place
    this.#place = undefined
    try {
      forEachEntry(directory, Buffer.alloc(32 * 1024), (name) => {
        unlinkAt({ directory, name })
      })
      removeDirectoryAt(entry)
    } catch (error) {
      if (!isSystemError(error)) throw error
    } finally {
      closeFd(directory)
    }
  }

  #makePlace(): { entry: Entry; directory: number } {
    const entry = { directory: this.#parent, name: nameOf(`.#copy${randomHex(8)}`) }
    makeDirectoryAt(entry, 0o700)
    return { entry, directory: openAt(entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) }
  }
}

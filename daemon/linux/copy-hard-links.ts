import { constants } from 'node:fs'
import { ifPossible, isSystemError } from '../base/errors.ts'
import type { CopyStatus } from './copy-status.ts'
import { makeDirectory } from './copy-target.ts'
import { forEachEntry } from './directory-entries.ts'
import { type Entry, linkAt, nameOf, openAt, removeDirectoryAt, replaceAt, unlinkAt } from './file-at.ts'
import { closeFd } from './libc.ts'
import { randomHex } from './random.ts'

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants

/** Where the directory is, once it is there: all that another thread has to know. */
export interface HardLinksPlace {
  /** A descriptor. */
  readonly parent: number
  readonly name: string
}

/**
 * Finds out which files are one and the same under several names. What was copied of such a file is linked into a
 * directory that is there for the time of the copy, under a name that says which file it was: this takes no memory,
 * no path has to be looked up again, and threads can share it. It is made with the first such file.
 */
export class HardLinks {
  readonly place: HardLinksPlace
  readonly #entry: Entry
  #directory: number | undefined

  constructor(place: HardLinksPlace) {
    this.place = place
    this.#entry = { directory: place.parent, name: nameOf(place.name) }
  }

  /** A place in a directory where nobody expects it. */
  static placeIn(parent: number): HardLinksPlace {
    return { parent, name: `.#copy${randomHex(8)}` }
  }

  /** Makes `target` one more name of what was copied of this file. False when nothing was, or it cannot be. Throws EEXIST. */
  link(status: CopyStatus, target: Entry): boolean {
    if (status.links < 2) return false
    const directory = this.#find()
    if (directory === undefined) return false
    try {
      linkAt({ directory, name: nameOf(status.identity) }, target)
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
      const entry = { directory: this.#findOrMake(), name: nameOf(status.identity) }
      if (isLinked(target, entry)) return
      // Another thread was faster with another name of it.
      const other = { directory: entry.directory, name: nameOf(randomHex(8)) }
      linkAt(entry, other)
      replaceAt(other, target)
    } catch (error) {
      if (!isSystemError(error)) throw error
    }
  }

  /** Removes the directory, whichever thread has made it; what somebody else put in there stays. */
  remove(): void {
    const directory = this.#find()
    if (directory === undefined) return
    try {
      forEachEntry(directory, Buffer.alloc(32 * 1024), (name) => {
        unlinkAt({ directory, name })
      })
      removeDirectoryAt(this.#entry)
    } catch (error) {
      if (!isSystemError(error)) throw error
    } finally {
      this.close()
    }
  }

  /** Lets go of the directory, which stays. */
  close(): void {
    if (this.#directory !== undefined) closeFd(this.#directory)
    this.#directory = undefined
  }

  #find(): number | undefined {
    return (this.#directory ??= ifPossible(() => openAt(this.#entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)))
  }

  #findOrMake(): number {
    const found = this.#find()
    if (found !== undefined) return found
    makeDirectory(this.#entry)
    return (this.#directory = openAt(this.#entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW))
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

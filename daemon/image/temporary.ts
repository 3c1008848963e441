import * as fs from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { isSystemError } from '../base/errors.ts'
import { CopyControl } from '../linux/copy-control.ts'
import { type Entry, nameOf, openAt, renameAt } from '../linux/file-at.ts'
import { FileLock } from '../linux/file-lock.ts'
import { closeFd } from '../linux/libc.ts'
import { removeTree } from '../linux/remove-tree.ts'
import { temporaryName } from './leftovers.ts'

/**
 * A place in a directory of images for one that is not whole. It is locked as long as somebody works on it: what is found
 * there without a lock is the rest of a work that was interrupted.
 */
export class Temporary {
  readonly path: string
  readonly entry: Entry
  readonly #lock: FileLock

  constructor(directory: string, purpose: 'clone' | 'removal') {
    this.path = join(directory, temporaryName(purpose))
    this.#lock = FileLock.take(`${this.path}.lck`, 'exclusive')
    try {
      this.entry = { directory: openDirectory(directory), name: nameOf(basename(this.path)) }
    } catch (error) {
      this.#lock.release()
      throw error
    }
  }

  /** Takes what is at a path of the same directory away to here. Throws EBUSY for a mount point. */
  take(path: string): void {
    renameAt(this.#sibling(path), this.entry)
  }

  /** Gives what is here its name. Throws EEXIST. */
  give(path: string): void {
    renameAt(this.entry, this.#sibling(path))
  }

  /** Removes what is here. */
  remove(control = new CopyControl()): void {
    removeTree(this.entry, control)
  }

  /** Removes, where it is, what cannot be taken here. */
  removeSibling(path: string, control: CopyControl): void {
    removeTree(this.#sibling(path), control)
  }

  [Symbol.dispose](): void {
    closeFd(this.entry.directory)
    this.#lock.release()
  }

  #sibling(path: string): Entry {
    if (dirname(path) !== dirname(this.path)) throw new Error(`${path} is not beside ${this.path}`)
    return { directory: this.entry.directory, name: nameOf(basename(path)) }
  }
}

/** Removes what findLeftovers found, unless somebody works on it. Gives what was removed; the first failure is thrown in the end. */
export function removeLeftovers(paths: readonly string[]): string[] {
  const removed: string[] = []
  let failure: { error: unknown } | undefined
  for (const path of paths) {
    try {
      if (removeLeftover(path)) removed.push(path)
    } catch (error) {
      if (isSystemError(error) && error.code !== 'EBUSY') failure ??= { error }
    }
  }
  if (failure !== undefined) throw failure.error
  return removed
}

/** False when there was only a lock. */
function removeLeftover(path: string): boolean {
  const lock = FileLock.take(`${path}.lck`, 'exclusive')
  try {
    if (fs.lstatSync(path, { throwIfNoEntry: false }) === undefined) return false
    const directory = openDirectory(dirname(path))
    try {
      removeTree({ directory, name: nameOf(basename(path)) }, new CopyControl())
    } finally {
      closeFd(directory)
    }
    return true
  } finally {
    lock.release()
  }
}

function openDirectory(path: string): number {
  return openAt({ directory: -1, name: nameOf(path) }, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY)
}

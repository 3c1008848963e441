import { randomHex } from './random.ts'
import { constants as fs } from 'node:fs'
import { constants as os } from 'node:os'
import { ifPossible, isSystemError, systemError } from '../base/errors.ts'
import { isOnBtrfs, mayBeSubvolume } from './btrfs.ts'
import { removeSubvolumeTree } from './btrfs-tree.ts'
import type { CopyControl } from './copy-control.ts'
import { CopyStatus } from './copy-status.ts'
import { forEachEntry } from './directory-entries.ts'
import { changeFileFlags } from './file-flags.ts'
import { type Entry, nameOf, openAt, removeDirectoryAt, renameAt, seek, statAt, statFd, unlinkAt } from './file-at.ts'
import { closeFd } from './libc.ts'
import { openOnSameMount } from './openat2.ts'

/** How deep we go at once, since each level takes a descriptor and a buffer. What is deeper is moved up first. */
const MOST_LEVELS = 64
const BUFFER_SIZE = 8 * 1024
const SEEK_SET = 0
const { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, S_IFDIR, S_IFREG } = fs
const directoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW

/**
 * Removes a file, or a directory with all that is in it: flags that protect files are taken away, nested subvolumes go too,
 * no link is followed and nothing behind a mount point is touched. Throws EBUSY for a mount point, ECANCELED, what the
 * kernel says; what was removed till then is gone.
 */
export function removeTree(entry: Entry, control: CopyControl): void {
  new TreeRemoval(control).remove(entry)
}

class TreeRemoval {
  readonly #control: CopyControl
  readonly #status = new CopyStatus()
  readonly #buffers: Buffer[] = []
  /** The directory at level 0. */
  #top = -1

  constructor(control: CopyControl) {
    this.#control = control
  }

  remove(entry: Entry): void {
    this.#remove(entry, this.#typeOf(entry), 0)
  }

  #remove(entry: Entry, type: number, level: number): void {
    this.#control.throwIfCancelled()
    if (type !== S_IFDIR) this.#forcibly(entry, unlinkAt)
    else if (level === MOST_LEVELS) this.#moveUp(entry)
    else this.#removeDirectory(entry, level)
    this.#control.count(0, 1)
  }

  #removeDirectory(entry: Entry, level: number): void {
    const directory = openDirectory(entry)
    try {
      if (this.#isSubvolume(directory)) {
        removeSubvolumeTree(entry)
        return
      }
      if (level === 0) this.#top = directory
      // What was moved up, or came meanwhile, is found when reading once more.
      while (this.#removeEntries(directory, level) > 0) {
        if (this.#removeEmptied(entry)) return
        seek(directory, 0, SEEK_SET)
      }
    } finally {
      closeFd(directory)
    }
    this.#forcibly(entry, removeDirectoryAt)
  }

  /** Gives how many there were. */
  #removeEntries(directory: number, level: number): number {
    const buffer = (this.#buffers[level] ??= Buffer.allocUnsafeSlow(BUFFER_SIZE))
    let count = 0
    forEachEntry(directory, buffer, (name, kind) => {
      const entry = { directory, name }
      this.#remove(entry, kind === 0 ? this.#typeOf(entry) : kind << 12, level + 1)
      count++
    })
    return count
  }

  /** False when there is something in it again. */
  #removeEmptied(entry: Entry): boolean {
    try {
      this.#forcibly(entry, removeDirectoryAt)
      return true
    } catch (error) {
      if (isSystemError(error) && error.code === 'ENOTEMPTY') return false
      throw error
    }
  }

  #moveUp(entry: Entry): void {
    const place = { directory: this.#top, name: nameOf(`.#${randomHex(8)}`) }
    this.#forcibly(entry, (from) => {
      renameAt(from, place)
    })
  }

  /** Does it, in spite of flags that forbid it. */
  #forcibly(entry: Entry, work: (entry: Entry) => void): void {
    try {
      work(entry)
    } catch (error) {
      if (!isSystemError(error) || error.code !== 'EPERM') throw error
      this.#unprotect(entry, error)
      work(entry)
    }
  }

  /** Of other kinds of files, none has flags. */
  #unprotect(entry: Entry, refusal: Error): void {
    const type = this.#typeOf(entry)
    let changed = unprotect(entry.directory)
    if (type === S_IFDIR || type === S_IFREG) {
      const fd = openAt(entry, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
      try {
        changed = unprotect(fd) || changed
      } finally {
        closeFd(fd)
      }
    }
    if (!changed) throw refusal
  }

  #isSubvolume(directory: number): boolean {
    statFd(directory, this.#status.raw)
    return mayBeSubvolume(this.#status.inode) && isOnBtrfs(directory)
  }

  #typeOf(entry: Entry): number {
    statAt(entry, this.#status.raw)
    return this.#status.type
  }
}

function openDirectory(entry: Entry): number {
  try {
    return openOnSameMount(entry, directoryFlags)
  } catch (error) {
    throw isSystemError(error) && error.code === 'EXDEV' ? systemError(os.errno.EBUSY, 'openat2') : error
  }
}

function unprotect(fd: number): boolean {
  return ifPossible(() => changeFileFlags(fd, { immutable: false, appendOnly: false })) ?? false
}

import { constants as fs } from 'node:fs'
import { constants as os } from 'node:os'
import { isSystemError, systemError } from '../base/errors.ts'
import { isOnBtrfs, mayBeSubvolume } from './btrfs.ts'
import { removeSubvolumeTree } from './btrfs-tree.ts'
import type { CopyControl } from './copy-control.ts'
import { CopyStatus } from './copy-status.ts'
import { forEachEntry, isFile } from './directory-entries.ts'
import { type Entry, nameOf, removeDirectoryAt, renameAt, seek, statFd } from './file-at.ts'
import { closeFd } from './libc.ts'
import { openOnSameMount } from './openat2.ts'
import { randomHex } from './random.ts'
import { FileRemover } from './remove-file.ts'
import { TreeHelper, type WorkDirectory } from './tree-helper.ts'

/** How deep we go at once, since each level takes a descriptor and a buffer. What is deeper is moved up first. */
const MOST_LEVELS = 64
const BUFFER_SIZE = 8 * 1024
const SEEK_SET = 0
const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY, S_IFDIR } = fs
const directoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW

/**
 * Removes a file, or a directory with all that is in it: flags that protect files are taken away, nested subvolumes go too,
 * no link is followed and nothing behind a mount point is touched. Throws EBUSY for a mount point, ECANCELED, what the
 * kernel says; what was removed till then is gone. A second thread helps with what takes long.
 */
export function removeTree(entry: Entry, control: CopyControl): void {
  using helper = new TreeHelper(() => ({ kind: 'removal', control: control.shared }))
  new TreeRemoval(control, helper).remove(entry)
}

class TreeRemoval {
  readonly #control: CopyControl
  readonly #helper: TreeHelper
  readonly #remover: FileRemover
  readonly #status = new CopyStatus()
  readonly #buffers: Buffer[] = []
  /** The directory at level 0. */
  #top = -1

  constructor(control: CopyControl, helper: TreeHelper) {
    this.#control = control
    this.#helper = helper
    this.#remover = new FileRemover(control)
  }

  remove(entry: Entry): void {
    this.#remove(entry, this.#remover.typeOf(entry), 0, false)
  }

  #remove(entry: Entry, type: number, level: number, mayShare: boolean): void {
    if (type !== S_IFDIR) {
      this.#remover.remove(entry)
      return
    }
    this.#control.throwIfCancelled()
    if (level === MOST_LEVELS) this.#moveUp(entry)
    else this.#removeDirectory(entry, level, mayShare)
  }

  #removeDirectory(entry: Entry, level: number, mayShare: boolean): void {
    const opened = workOn(openDirectory(entry))
    const [directory] = opened.descriptors
    try {
      if (this.#isSubvolume(directory)) removeSubvolumeTree(entry)
      else if (mayShare && this.#helper.offer(opened)) this.#removeEntries(directory, level, 'directories', true)
      else {
        this.#removeOpened(entry, directory, level, mayShare || level === 0)
        this.#control.count(0, 1)
      }
    } catch (error) {
      this.#helper.abandon(opened)
      throw error
    }
    this.#helper.leave(opened)
  }

  #removeOpened(entry: Entry, directory: number, level: number, mayShare: boolean): void {
    if (level === 0) this.#top = directory
    let isFirst = true
    // What the other thread had a part in, what was moved up, or came meanwhile, is found when reading once more.
    while (this.#removeEntries(directory, level, 'all', mayShare && isFirst) > 0) {
      if (this.#removeEmptied(entry)) return
      this.#helper.wait()
      isFirst = false
      seek(directory, 0, SEEK_SET)
    }
    this.#remover.forcibly(entry, removeDirectoryAt)
  }

  /** Gives how many there were. */
  #removeEntries(directory: number, level: number, which: 'all' | 'directories', mayShare: boolean): number {
    const buffer = (this.#buffers[level] ??= Buffer.allocUnsafeSlow(BUFFER_SIZE))
    let count = 0
    forEachEntry(directory, buffer, (name, kind) => {
      if (which === 'directories' && isFile(kind)) return
      const entry = { directory, name }
      this.#remove(entry, kind === 0 ? this.#remover.typeOf(entry) : kind << 12, level + 1, mayShare)
      count++
    })
    return count
  }

  /** False when there is something in it again. */
  #removeEmptied(entry: Entry): boolean {
    try {
      this.#remover.forcibly(entry, removeDirectoryAt)
      return true
    } catch (error) {
      if (isSystemError(error) && error.code === 'ENOTEMPTY') return false
      throw error
    }
  }

  #moveUp(entry: Entry): void {
    const place = { directory: this.#top, name: nameOf(`.#${randomHex(8)}`) }
    this.#remover.forcibly(entry, (from) => {
      renameAt(from, place)
    })
  }

  #isSubvolume(directory: number): boolean {
    statFd(directory, this.#status.raw)
    return mayBeSubvolume(this.#status.inode) && isOnBtrfs(directory)
  }
}

function workOn(directory: number): WorkDirectory & { readonly descriptors: readonly [number] } {
  return {
    descriptors: [directory],
    failed: (error) => {
      throw error
    },
    finish: () => undefined,
    close: () => {
      closeFd(directory)
    }
  }
}

function openDirectory(entry: Entry): number {
  try {
    return openOnSameMount(entry, directoryFlags)
  } catch (error) {
    throw isSystemError(error) && error.code === 'EXDEV' ? systemError(os.errno.EBUSY, 'openat2') : error
  }
}

import { constants as fs } from 'node:fs'
import { ifPossible, isSystemError } from '../base/errors.ts'
import type { CopyControl } from './copy-control.ts'
import { CopyStatus } from './copy-status.ts'
import { type Entry, openAt, statAt, unlinkAt } from './file-at.ts'
import { changeFileFlags } from './file-flags.ts'
import { closeFd } from './libc.ts'

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY, S_IFDIR, S_IFREG } = fs

/** Removes files, in spite of flags that protect them. */
export class FileRemover {
  readonly #control: CopyControl
  readonly #status = new CopyStatus()

  constructor(control: CopyControl) {
    this.#control = control
  }

  /** Removes what is no directory. Throws ECANCELED. */
  remove(entry: Entry): void {
    this.#control.throwIfCancelled()
    this.forcibly(entry, unlinkAt)
    this.#control.count(0, 1)
  }

  /** Does something to a file of any kind, in spite of flags that forbid it. */
  forcibly(entry: Entry, work: (entry: Entry) => void): void {
    try {
      work(entry)
    } catch (error) {
      if (!isSystemError(error) || error.code !== 'EPERM') throw error
      // Where nothing has to be changed any more, the other thread that works on the tree has.
      this.#unprotect(entry)
      work(entry)
    }
  }

  /** The kind of file, one of the S_IF constants. */
  typeOf(entry: Entry): number {
    statAt(entry, this.#status.raw)
    return this.#status.type
  }

  /** Of other kinds of files, none has flags. */
  #unprotect(entry: Entry): void {
    unprotect(entry.directory)
    const type = this.typeOf(entry)
    if (type !== S_IFDIR && type !== S_IFREG) return
    const fd = openAt(entry, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    try {
      unprotect(fd)
    } finally {
      closeFd(fd)
    }
  }
}

function unprotect(fd: number): void {
  ifPossible(() => changeFileFlags(fd, { immutable: false, appendOnly: false }))
}

import { constants as fs } from 'node:fs'
import { isSystemError } from '../base/errors.ts'
import { type Entry, openAt } from './file-at.ts'
import { closeFd } from './libc.ts'
import { openOnSameMount } from './openat2.ts'
import type { ProcDescriptors } from './proc-descriptors.ts'

const O_PATH = 0x200000
const READ = fs.O_RDONLY | fs.O_NOCTTY
const isAny = (error: unknown, codes: readonly string[]): boolean => isSystemError(error) && codes.includes(error.code)

/** Opens a directory to be copied; undefined for a mount point where only one mount is to be copied. */
export function openSource(source: Entry, flags: number, oneMount: boolean): number | undefined {
  if (!oneMount) return openAt(source, flags)
  try {
    return openOnSameMount(source, flags)
  } catch (error) {
    if (isAny(error, ['EXDEV'])) return undefined
    throw error
  }
}

/**
 * Opens regular files to be copied. Inside a machine, where a file may have become a device meanwhile that does something
 * when it is opened, each is pinned first (O_PATH) and looked at; elsewhere opening it at once saves two calls of some
 * dozen for a small file.
 */
export class SourceFiles {
  readonly #inMachine: boolean
  readonly #descriptors: ProcDescriptors
  #isPinned = false

  constructor(inMachine: boolean, descriptors: ProcDescriptors) {
    this.#inMachine = inMachine
    this.#descriptors = descriptors
  }

  /** Gives a descriptor that says what the file is. */
  open(source: Entry): number {
    this.#isPinned = this.#inMachine
    try {
      if (!this.#isPinned) return openAt(source, READ | fs.O_NOFOLLOW | fs.O_NONBLOCK)
    } catch (error) {
      // Somebody holds a lease, for whose end we can wait below; or it is a socket by now.
      if (!isAny(error, ['EAGAIN', 'ENXIO'])) throw error
      this.#isPinned = true
    }
    return openAt(source, O_PATH | fs.O_NOFOLLOW)
  }

  /** Gives one that can be read for what open() gave last, which is closed when it is another. */
  makeReadable(opened: number): number {
    if (!this.#isPinned) return opened
    // The file that was looked at, whatever has its name by now.
    const input = openAt(this.#descriptors.entryOf(opened), READ)
    closeFd(opened)
    return input
  }
}

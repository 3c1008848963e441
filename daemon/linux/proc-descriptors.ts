import { constants as fs } from 'node:fs'
import { type Entry, nameOf, openAt } from './file-at.ts'
import { closeFd } from './libc.ts'

/** The calling thread's descriptors as the kernel shows them, under names that lead to what they stand for. */
export class ProcDescriptors {
  readonly #directory = openAt({ directory: -1, name: nameOf('/proc/thread-self/fd') }, fs.O_RDONLY | fs.O_DIRECTORY)
  readonly #name = Buffer.alloc(16)

  /** Where to find the descriptor; valid until the next call. */
  entryOf(fd: number): Entry {
    this.#name[this.#name.write(String(fd), 'latin1')] = 0
    return { directory: this.#directory, name: this.#name }
  }

  close(): void {
    closeFd(this.#directory)
  }
}

import { addressOf, declare } from './libc.ts'
import { FileStatus, isSameStatus, STATUS_WORDS, STATX_MASK } from './stat.ts'

/** statx(2) with addresses: where it is called for file after file, finding the memory of buffers took a fifth of the time. */
const statx = declare<(fd: number, name: number, flags: number, mask: number, into: number) => number>('statx', 'int', [
  'int',
  'uint64',
  'int',
  'uint',
  'uint64'
])

/** A file in a directory and what is known of it. */
export interface KnownFile {
  /** Ends with a zero. */
  readonly name: Buffer
  readonly status: FileStatus
}

/**
 * What is known of many files in one directory, links followed, to see quickly which of them are not what they were. All that
 * is looked at lies side by side: going through objects, it was waiting for memory that took longest.
 */
export class FileStatuses {
  readonly #count: number
  readonly #names: Buffer
  readonly #starts: Uint32Array
  readonly #words: Int32Array
  readonly #now = new FileStatus()

  constructor(files: readonly KnownFile[]) {
    this.#count = files.length
    this.#names = Buffer.concat(files.map(({ name }) => name))
    this.#starts = new Uint32Array(files.length)
    this.#words = new Int32Array(files.length * STATUS_WORDS)
    let start = 0
    files.forEach(({ name, status }, at) => {
      this.#starts[at] = start
      start += name.length
      this.#words.set(status.words, at * STATUS_WORDS)
    })
  }

  /**
   * The numbers of those that are different or cannot be looked at. `tell` learns of each before it is looked at: where in
   * which buffer its name starts.
   */
  differing(directory: number, tell: (names: Buffer, start: number) => void): number[] {
    const names = Number(addressOf(this.#names))
    const into = Number(addressOf(this.#now.raw))
    const differing: number[] = []
    for (let at = 0; at < this.#count; at++) {
      const start = this.#starts[at] ?? 0
      tell(this.#names, start)
      const result = statx(directory, names + start, 0, STATX_MASK, into)
      if (result === -1 || !isSameStatus(this.#words, at * STATUS_WORDS, this.#now.words)) differing.push(at)
    }
    return differing
  }
}

import { Companion } from './companion.ts'
import { addressOf } from './libc.ts'
import { type FileStatus, STATUS_WORDS } from './stat.ts'
import { type Scanned, StatusScan } from './status-scan.ts'

/** So many are worth a second thread: to wake it takes as long as to look at some twenty. */
const ENOUGH_FOR_TWO = 200
/** How soon it is told where the other thread is that is waited for. */
const TELL_MS = 50

const second = new Companion('status-thread')

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
  readonly #names: Buffer
  readonly #starts: Uint32Array
  readonly #known: Omit<Scanned, 'directory' | 'progress'>

  constructor(files: readonly KnownFile[]) {
    this.#names = Buffer.concat(files.map(({ name }) => name))
    const starts = new SharedArrayBuffer(files.length * Uint32Array.BYTES_PER_ELEMENT)
    const words = new SharedArrayBuffer(files.length * STATUS_WORDS * Int32Array.BYTES_PER_ELEMENT)
    this.#starts = new Uint32Array(starts)
    this.#known = { names: Number(addressOf(this.#names)), starts, words }
    const allWords = new Int32Array(words)
    let start = 0
    files.forEach(({ name, status }, at) => {
      this.#starts[at] = start
      start += name.length
      allWords.set(status.words, at * STATUS_WORDS)
    })
  }

  /**
   * The numbers of those that are different or cannot be looked at. `tell` learns of each that we may be waiting for: where
   * in which buffer its name starts. A second thread takes part in long lists.
   */
  differing(directory: number, tell: (names: Buffer, start: number) => void): number[] {
    const count = this.#starts.length
    const tellOf = (at: number): void => {
      tell(this.#names, this.#starts[at] ?? 0)
    }
    const scanned = { ...this.#known, directory, progress: StatusScan.progressOf(count) }
    if (count >= ENOUGH_FOR_TWO) second.post(scanned)
    const scan = new StatusScan(scanned)
    scan.run(tellOf)
    scan.waitForOther(TELL_MS, tellOf)
    return scan.differing()
  }
}

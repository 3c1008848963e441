import { constants as os } from 'node:os'
import { systemError } from '../base/errors.ts'
import { reportProgress } from './thread-jobs.ts'

/** How often the thread says that there is progress, in milliseconds between two times. */
const REPORT_MS = 200
/** The clock is looked at after so many bytes, a file being worth some: to look takes as long as to copy some of a file. */
const LOOK_AFTER = 1024 * 1024
const WORTH_OF_FILE = 64 * 1024

const SIZE = 8 + 4 * 8

/** What the thread that copies and the main thread tell each other meanwhile, in memory that both see. */
export class CopyControl {
  readonly shared: SharedArrayBuffer
  readonly #cancelled: Int32Array
  /** Bytes and files of each thread; where ours are. */
  readonly #counts: Float64Array
  readonly #at: number
  #reported = performance.now()
  #sinceLook = 0

  /** Two threads may copy at once: the `second` says so. */
  constructor(shared = new SharedArrayBuffer(SIZE), second = false) {
    this.shared = shared
    this.#cancelled = new Int32Array(shared, 0, 1)
    this.#counts = new Float64Array(shared, 8, 4)
    this.#at = second ? 2 : 0
  }

  /** Asks for the end of the copy. */
  cancel(): void {
    Atomics.store(this.#cancelled, 0, 1)
  }

  /** Throws ECANCELED once the copy is to end. */
  throwIfCancelled(): void {
    if (Atomics.load(this.#cancelled, 0) !== 0) throw systemError(os.errno.ECANCELED, 'copy')
  }

  get progress(): { bytes: number; files: number } {
    const [bytes = 0, files = 0, otherBytes = 0, otherFiles = 0] = this.#counts
    return { bytes: bytes + otherBytes, files: files + otherFiles }
  }

  /** Adds to what was done. */
  count(bytes: number, files: number): void {
    this.#counts[this.#at] = (this.#counts[this.#at] ?? 0) + bytes
    this.#counts[this.#at + 1] = (this.#counts[this.#at + 1] ?? 0) + files
    this.#sinceLook += bytes + files * WORTH_OF_FILE
    if (this.#sinceLook >= LOOK_AFTER) this.#report()
  }

  #report(): void {
    this.#sinceLook = 0
    const now = performance.now()
    if (now - this.#reported < REPORT_MS) return
    this.#reported = now
    reportProgress()
  }
}

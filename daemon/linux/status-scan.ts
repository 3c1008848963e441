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

/** How many are taken at a time. */
const STRETCH = 16
/** Where in their memory, counted in words of 32 bits, is what; then one for each file, which says whether it differs. */
const NEXT = 0
const OTHER = 1
const FILES = 2
/** What OTHER is while the other thread looks at none; else the number of the one it looks at. */
const NONE = -1

/** Files that are looked at by two threads. */
export interface Scanned {
  readonly directory: number
  /** The address of their names, each of which ends with a zero. */
  readonly names: number
  /** Where in there each one starts. */
  readonly starts: SharedArrayBuffer
  /** What is known of them, STATUS_WORDS each. */
  readonly words: SharedArrayBuffer
  /** From progressOf(). */
  readonly progress: SharedArrayBuffer
}

const now = new FileStatus()
const into = Number(addressOf(now.raw))

/** A look at files, stretch by stretch: each of the two threads takes the next one when it is done with its last. */
export class StatusScan {
  readonly #scanned: Scanned
  readonly #starts: Uint32Array
  readonly #words: Int32Array
  readonly #progress: Int32Array

  /** Memory for a look at so many files. */
  static progressOf(count: number): SharedArrayBuffer {
    const memory = new SharedArrayBuffer((FILES + count) * Int32Array.BYTES_PER_ELEMENT)
    new Int32Array(memory)[OTHER] = NONE
    return memory
  }

  constructor(scanned: Scanned) {
    this.#scanned = scanned
    this.#starts = new Uint32Array(scanned.starts)
    this.#words = new Int32Array(scanned.words)
    this.#progress = new Int32Array(scanned.progress)
  }

  /** Looks at all that the other thread does not; `tell` learns of each before. */
  run(tell: (at: number) => void): void {
    const count = this.#starts.length
    for (let at = this.#takeStretch(); at < count; at = this.#takeStretch()) {
      for (const end = Math.min(at + STRETCH, count); at < end; at++) {
        tell(at)
        if (this.#differs(at)) this.#progress[FILES + at] = 1
      }
    }
  }

  /** The same in the other thread. */
  runAsOther(): void {
    Atomics.store(this.#progress, OTHER, 0)
    this.run((at) => Atomics.store(this.#progress, OTHER, at))
    Atomics.store(this.#progress, OTHER, NONE)
    Atomics.notify(this.#progress, OTHER)
  }

  /** Waits till the other thread looks at none; `tell` learns of the one it looks at for longer than `ms`. */
  waitForOther(ms: number, tell: (at: number) => void): void {
    for (;;) {
      const other = Atomics.load(this.#progress, OTHER)
      if (other === NONE) return
      if (Atomics.wait(this.#progress, OTHER, other, ms) === 'timed-out') tell(other)
    }
  }

  /** The numbers of those that are different or cannot be looked at. */
  differing(): number[] {
    const numbers: number[] = []
    for (let at = 0; at < this.#starts.length; at++) if (this.#progress[FILES + at] === 1) numbers.push(at)
    return numbers
  }

  #takeStretch(): number {
    return Atomics.add(this.#progress, NEXT, STRETCH)
  }

  #differs(at: number): boolean {
    const { directory, names } = this.#scanned
    const result = statx(directory, names + (this.#starts[at] ?? 0), 0, STATX_MASK, into)
    return result === -1 || !isSameStatus(this.#words, at * STATUS_WORDS, now.words)
  }
}

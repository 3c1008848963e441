import { constants as os } from 'node:os'
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { systemError } from '../base/errors.ts'
import { errorOfFailure } from '../linux/thread-failure.ts'
import type { Found, Search, What } from './discovery-thread.ts'
import type { ImagePlaces } from './places.ts'

/** A search takes microseconds for one image, milliseconds for a thousand, unless a file system does not answer. */
const DEADLINE_MS = 10_000
/** How long the thread is kept without work, with what it knows; starting one takes 30 ms. */
const KEEP_MS = 60_000
const MOST_STUCK = 2

interface Waiting {
  readonly resolve: (found: Found) => void
  readonly reject: (error: unknown) => void
  readonly deadline: NodeJS.Timeout
}

/** The thread that searches, with who waits for it. */
interface Thread {
  readonly worker: Worker
  readonly waiting: Map<number, Waiting>
}

/** A thread that looks at file systems (discovery-thread.ts), started when needed, and given up for another when it hangs in one. */
export class Searcher {
  readonly #places: ImagePlaces
  #thread: Thread | undefined
  #stuck = 0
  #searches = 0
  #idle: NodeJS.Timeout | undefined

  constructor(places: ImagePlaces) {
    this.#places = places
  }

  /** Throws what the search does; ETIMEDOUT when it hangs, EBUSY while earlier ones hang, ECANCELED after close(). */
  search(what: What): Promise<Found> {
    return new Promise((resolve, reject) => {
      if (this.#stuck >= MOST_STUCK) throw systemError(os.errno.EBUSY, 'search')
      const thread = (this.#thread ??= this.#start())
      const deadline = setTimeout(() => {
        this.#abandon(thread)
      }, DEADLINE_MS)
      const search: Search = { id: ++this.#searches, ...what }
      thread.waiting.set(search.id, { resolve, reject, deadline })
      clearTimeout(this.#idle)
      // Only a thread whose answer is awaited keeps the process alive.
      thread.worker.ref()
      thread.worker.postMessage(search)
    })
  }

  /** Ends the thread; who waits gets ECANCELED. */
  close(): void {
    clearTimeout(this.#idle)
    if (this.#thread !== undefined) this.#drop(this.#thread, systemError(os.errno.ECANCELED, 'search'))
  }

  #start(): Thread {
    const entry = new URL(`./discovery-thread${extname(import.meta.url)}`, import.meta.url)
    const resourceLimits = { maxYoungGenerationSizeMb: 1 }
    const worker = new Worker(entry, { workerData: this.#places, trackUnmanagedFds: false, resourceLimits })
    const thread: Thread = { worker, waiting: new Map() }
    worker.on('message', (found: Found) => {
      this.#finish(thread, found)
    })
    worker.once('error', (error) => {
      this.#drop(thread, error)
    })
    return thread
  }

  #finish({ worker, waiting }: Thread, found: Found): void {
    const waiter = waiting.get(found.id)
    if (waiter === undefined) return
    waiting.delete(found.id)
    clearTimeout(waiter.deadline)
    if ('failure' in found) waiter.reject(errorOfFailure(found.failure))
    else waiter.resolve(found)
    if (waiting.size > 0) return
    worker.unref()
    this.#idle = setTimeout(() => {
      this.close()
    }, KEEP_MS).unref()
  }

  /** Goes on without a thread that hangs; it ends when it comes back. */
  #abandon(thread: Thread): void {
    this.#stuck++
    thread.worker.once('exit', () => this.#stuck--)
    this.#drop(thread, systemError(os.errno.ETIMEDOUT, 'search'))
  }

  #drop(thread: Thread, reason: unknown): void {
    if (this.#thread === thread) this.#thread = undefined
    for (const { reject, deadline } of thread.waiting.values()) {
      clearTimeout(deadline)
      reject(reason)
    }
    thread.waiting.clear()
    thread.worker.unref()
    void thread.worker.terminate()
  }
}

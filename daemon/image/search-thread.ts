import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { Found, Search, ThreadData, What } from './discovery-thread.ts'
import type { ImagePlaces } from './places.ts'
import { Whereabouts } from './whereabouts.ts'

/** A search takes microseconds for one image, milliseconds for a thousand. */
const SLOW_MS = 250
/** When a thread hangs: so many times SLOW_MS at the same place. */
const MOST_TIMES_SLOW = 20

/** Who is told of what a thread does. */
interface Listener<W> {
  readonly found: (waiting: W, found: Found) => void
  /** A search takes long; told again and again as long as it does. */
  readonly slow: () => void
  /** A search does not come back from where it is. */
  readonly hangs: () => void
  /** The thread has ended. */
  readonly failed: (error: unknown) => void
}

/** One thread that searches, one search after the other; `W` is whatever waits for one. */
export class SearchThread<W> {
  readonly whereabouts = new Whereabouts()
  readonly #passedOn = new Int32Array(new SharedArrayBuffer(8))
  readonly #worker: Worker
  readonly #listener: Listener<W>
  /** In the order in which they are done. */
  readonly #waiting = new Map<number, W>()
  #searches = 0
  readonly #timer: NodeJS.Timeout
  #isRunning = false
  #timesSlow = 0
  #place = ''

  constructor(places: ImagePlaces, listener: Listener<W>) {
    this.#listener = listener
    const workerData: ThreadData = { places, whereabouts: this.whereabouts.shared, passedOn: this.#passedOn }
    const entry = new URL(`./discovery-thread${extname(import.meta.url)}`, import.meta.url)
    const resourceLimits = { maxYoungGenerationSizeMb: 1 }
    this.#worker = new Worker(entry, { workerData, trackUnmanagedFds: false, resourceLimits })
    this.#worker.once('online', () => (this.#isRunning = true))
    this.#worker.on('message', (found: Found) => {
      this.#take(found)
    })
    this.#worker.once('error', listener.failed)
    this.#timer = setTimeout(() => {
      this.#look()
    }, SLOW_MS).unref()
  }

  /** Who waits for the search that is under way; undefined when none is. */
  get first(): W | undefined {
    return this.#waiting.values().next().value
  }

  post(what: What, hanging: ReadonlySet<string> | undefined, waiting: W): void {
    const search: Search = { id: ++this.#searches, hanging, ...what }
    if (this.#waiting.size === 0) this.#begin()
    this.#waiting.set(search.id, waiting)
    // Only a thread whose answer is awaited keeps the process alive.
    this.#worker.ref()
    this.#worker.postMessage(search)
  }

  /** Gives all that wait but the first, whose searches are not done here any more. */
  passOn(): W[] {
    const [first, ...others] = [...this.#waiting]
    if (first === undefined) return []
    Atomics.store(this.#passedOn, 0, first[0])
    Atomics.store(this.#passedOn, 1, this.#searches)
    for (const [id] of others) this.#waiting.delete(id)
    return others.map(([, waiting]) => waiting)
  }

  /** Gives all that wait; nobody does any more. */
  takeAll(): W[] {
    const all = [...this.#waiting.values()]
    this.#waiting.clear()
    return all
  }

  /** Ends the thread as soon as it can be ended. */
  end(): void {
    clearTimeout(this.#timer)
    this.#worker.unref()
    void this.#worker.terminate()
  }

  whenEnded(tell: () => void): void {
    this.#worker.once('exit', tell)
  }

  #begin(): void {
    this.#timesSlow = 0
    this.#place = ''
    this.#timer.refresh()
  }

  #take(found: Found): void {
    const waiting = this.#waiting.get(found.id)
    if (waiting === undefined) return
    this.#waiting.delete(found.id)
    if (this.#waiting.size > 0) this.#begin()
    else this.#worker.unref()
    this.#listener.found(waiting, found)
  }

  /** Looks whether the search that is under way gets on. */
  #look(): void {
    if (this.#waiting.size === 0) return
    this.#timer.refresh()
    if (!this.#isRunning) return
    const { place, entry } = this.whereabouts.read()
    const where = entry ?? place
    this.#timesSlow = where === this.#place ? this.#timesSlow + 1 : 0
    this.#place = where
    if (this.#timesSlow >= MOST_TIMES_SLOW) this.#listener.hangs()
    else this.#listener.slow()
  }
}

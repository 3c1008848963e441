import { constants as os } from 'node:os'
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { MachinedError, systemError } from '../base/errors.ts'
import { errorOfFailure } from '../linux/thread-failure.ts'
import type { Found, Search } from './discovery-thread.ts'
import type { Image } from './image.ts'
import type { ImagePlaces } from './places.ts'

/** A search takes microseconds for one image, milliseconds for a thousand, unless a file system does not answer. */
const DEADLINE_MS = 10_000
/** How long the thread is kept without work, with what it knows; starting one takes 30 ms. */
const KEEP_MS = 60_000
const MOST_STUCK = 2

/** What is searched for. */
type What = { readonly name: string } | { readonly all: true } | { readonly path: string }

interface Waiting {
  readonly resolve: (found: Found) => void
  readonly reject: (error: unknown) => void
  readonly deadline: NodeJS.Timeout
}

/** The thread that searches, with who waits for it. */
interface Searcher {
  readonly worker: Worker
  readonly waiting: Map<number, Waiting>
  /** What it found last when it looked for all. */
  images: readonly Image[]
}

/** The machine images there are at the moment of each call (spec/dbus.md 8). */
export class Images {
  readonly places: ImagePlaces
  #searcher: Searcher | undefined
  #stuck = 0
  #searches = 0
  #idle: NodeJS.Timeout | undefined
  /** The search for all that is under way, and the one that begins after it and all later callers share. */
  #listing: Promise<unknown> | undefined
  #next: Promise<readonly Image[]> | undefined

  constructor(places: ImagePlaces) {
    this.places = places
  }

  /**
   * The image of a name; undefined when there is none. Throws SystemError for a search directory that cannot be read,
   * ETIMEDOUT for a file system that does not answer, EBUSY while earlier searches hang in one.
   */
  async find(name: string): Promise<Image | undefined> {
    const found = await this.#search({ name })
    return 'image' in found ? found.image : undefined
  }

  /** The image of a name. Throws NoSuchImage, and as find(). */
  async get(name: string): Promise<Image> {
    const image = await this.find(name)
    if (image === undefined) throw new MachinedError('NoSuchImage', `No image '${name}' known`)
    return image
  }

  /** All images; the same array as long as nothing changes. Throws as find(). */
  list(): Promise<readonly Image[]> {
    if (this.#listing === undefined) return this.#list()
    // What is under way may have passed by what has changed just now.
    this.#next ??= this.#listing.then(() => this.#list())
    return this.#next
  }

  /** Throws EBUSY while an image is run or changed by anybody, and as find(). */
  async requireUnused({ path }: Image): Promise<void> {
    await this.#search({ path })
  }

  /** Ends the thread; who waits gets ECANCELED. */
  close(): void {
    clearTimeout(this.#idle)
    const searcher = this.#searcher
    if (searcher === undefined) return
    this.#drop(searcher, systemError(os.errno.ECANCELED, 'search'))
  }

  #list(): Promise<readonly Image[]> {
    this.#next = undefined
    const search = this.#search({ all: true })
    const searcher = this.#searcher
    const images = search.then((found) => {
      if (searcher === undefined) return []
      if ('images' in found) searcher.images = found.images ?? []
      return searcher.images
    })
    const listing = images.then(
      () => undefined,
      () => undefined
    )
    this.#listing = listing
    void listing.then(() => {
      if (this.#listing === listing) this.#listing = undefined
    })
    return images
  }

  #search(what: What): Promise<Found> {
    return new Promise((resolve, reject) => {
      if (this.#stuck >= MOST_STUCK) throw systemError(os.errno.EBUSY, 'search')
      const searcher = (this.#searcher ??= this.#start())
      const deadline = setTimeout(() => {
        this.#abandon(searcher)
      }, DEADLINE_MS)
      const search: Search = { id: ++this.#searches, ...what }
      searcher.waiting.set(search.id, { resolve, reject, deadline })
      clearTimeout(this.#idle)
      // Only a thread whose answer is awaited keeps the process alive.
      searcher.worker.ref()
      searcher.worker.postMessage(search)
    })
  }

  #start(): Searcher {
    const entry = new URL(`./discovery-thread${extname(import.meta.url)}`, import.meta.url)
    const resourceLimits = { maxYoungGenerationSizeMb: 1 }
    const worker = new Worker(entry, { workerData: this.places, trackUnmanagedFds: false, resourceLimits })
    const searcher: Searcher = { worker, waiting: new Map(), images: [] }
    worker.on('message', (found: Found) => {
      this.#finish(searcher, found)
    })
    worker.once('error', (error) => {
      this.#drop(searcher, error)
    })
    return searcher
  }

  #finish({ worker, waiting }: Searcher, found: Found): void {
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
  #abandon(searcher: Searcher): void {
    this.#stuck++
    searcher.worker.once('exit', () => this.#stuck--)
    this.#drop(searcher, systemError(os.errno.ETIMEDOUT, 'search'))
  }

  #drop(searcher: Searcher, reason: unknown): void {
    if (this.#searcher === searcher) this.#searcher = undefined
    for (const { reject, deadline } of searcher.waiting.values()) {
      clearTimeout(deadline)
      reject(reason)
    }
    searcher.waiting.clear()
    searcher.worker.unref()
    void searcher.worker.terminate()
  }
}

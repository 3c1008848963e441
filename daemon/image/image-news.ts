import { extname } from 'node:path'
import { log } from '../base/log.ts'
import { JobThreads } from '../linux/job-threads.ts'
import { type Image, isHost } from './image.ts'
import type { ImageSource } from './image-changes.ts'
import type { ImageJobs } from './image-thread.ts'
import { ImageWatch } from './image-watch.ts'

/** Changes come in bursts: a search waits for so many milliseconds after the first, and longer where searches take long. */
const REST_MS = 100
/** How many times as long as a search takes nothing is searched after it. */
const REST_PER_SEARCH = 4

export type ImageNewsKind = 'present' | 'new' | 'removed' | 'changed'

/** Who follows images. */
export interface ImageListener {
  readonly tell: (kind: ImageNewsKind, image: Image) => void
  /** Called once all that are present have been told of. */
  readonly ready: () => void
}

/** Tells of images as they come, change and go, but for the host's own. Watches only while somebody listens. */
export class ImageNews {
  readonly #images: ImageSource
  readonly #listeners = new Set<ImageListener>()
  readonly #threads = new JobThreads<ImageJobs>(new URL(`./image-thread${extname(import.meta.url)}`, import.meta.url))
  #observer: Observer | undefined

  constructor(images: ImageSource) {
    this.#images = images
  }

  /** Looks whether anything about an image has changed: not each change is told by the kernel. */
  lookAgain(): void {
    this.#observer?.lookAgain()
  }

  /** Tells a listener of the images that are there, which takes a moment, then of each change. Gives what ends that. */
  follow(listener: ImageListener): () => void {
    this.#listeners.add(listener)
    this.#observer ??= new Observer(this.#images, this.#threads, {
      tell: (kind, image) => {
        for (const { tell } of this.#listeners) tell(kind, image)
      },
      ready: () => {
        for (const { ready } of this.#listeners) ready()
      }
    })
    const { known } = this.#observer
    if (known !== undefined) {
      for (const image of known.values()) listener.tell('present', image)
      listener.ready()
    }
    return () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size > 0) return
      this.#observer?.close()
      this.#observer = undefined
    }
  }
}

/** Finds out what has changed, from the first listener to the last. */
class Observer {
  /** The images by name that were told of; undefined before the first search. */
  known: ReadonlyMap<string, Image> | undefined
  readonly #images: ImageSource
  readonly #listener: ImageListener
  readonly #watch: ImageWatch
  #timer: NodeJS.Timeout | undefined
  #restMs = REST_MS
  #searching = false
  #closed = false

  constructor(images: ImageSource, threads: JobThreads<ImageJobs>, listener: ImageListener) {
    this.#images = images
    this.#listener = listener
    this.#watch = new ImageWatch(images.places.search, threads, () => {
      this.lookAgain()
    })
    void this.#search()
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    this.#watch.close()
  }

  /** Searches soon. */
  lookAgain(): void {
    if (this.#closed) return
    this.#timer ??= setTimeout(() => {
      // What comes during a search may be missed by it; the search after it must not be.
      if (this.#searching) this.#timer?.refresh()
      else void this.#search()
    }, this.#restMs)
  }

  async #search(): Promise<void> {
    this.#timer = undefined
    this.#searching = true
    try {
      await this.#watch.renew()
      const start = performance.now()
      const images = await this.#watch.aside(() => this.#images.list())
      this.#restMs = Math.max(REST_MS, REST_PER_SEARCH * (performance.now() - start))
      if (!this.#closed) this.#compare(images)
    } catch (error) {
      log.warn({ err: error }, 'Cannot tell what has changed about images')
    } finally {
      this.#searching = false
    }
  }

  #compare(images: readonly Image[]): void {
    const { known: before, known: isLater } = this
    const now = new Map(images.filter((image) => !isHost(image)).map((image) => [image.name, image]))
    this.known = now
    for (const [name, image] of before ?? []) if (!now.has(name)) this.#listener.tell('removed', image)
    for (const [name, image] of now) {
      const other = before?.get(name)
      if (other === undefined) this.#listener.tell(isLater === undefined ? 'present' : 'new', image)
      else if (!isSame(image, other)) this.#listener.tell('changed', image)
    }
    if (isLater === undefined) this.#listener.ready()
  }
}

function isSame(one: Image, other: Image): boolean {
  return (Object.keys(one) as (keyof Image)[]).every((key) => one[key] === other[key])
}

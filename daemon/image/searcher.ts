import { constants as os } from 'node:os'
import { systemError } from '../base/errors.ts'
import { errorOfFailure } from '../linux/thread-failure.ts'
import type { Found, What } from './discovery-thread.ts'
import type { ImagePlaces } from './places.ts'
import { SearchThread } from './search-thread.ts'

/** How long the thread is kept without work, with what it knows; starting one takes 30 ms. */
const KEEP_MS = 60_000
/** How many threads may be at searches that take long. */
const MOST_SLOW = 32

/** A search and who waits for it. */
interface Waiting {
  readonly what: What
  readonly resolve: (found: Found) => void
  readonly reject: (error: unknown) => void
}

/**
 * A thread that looks at file systems (discovery-thread.ts), started when needed. While one takes long, another does what is
 * asked for beside that; when it hangs, it is given up, and others keep away from where it is.
 */
export class Searcher {
  readonly #places: ImagePlaces
  /** The thread that gets what is asked for next. */
  #thread: SearchThread<Waiting> | undefined
  /** Threads at searches that take long, which get only what asks for the same. */
  readonly #slow = new Set<SearchThread<Waiting>>()
  /** Threads that did not come back in time, with where they are. */
  readonly #hanging = new Map<SearchThread<Waiting>, string>()
  readonly #idle: NodeJS.Timeout

  constructor(places: ImagePlaces) {
    this.#places = places
    this.#idle = setTimeout(() => {
      if (this.#thread?.first === undefined) this.#end(this.#thread, undefined)
    }, KEEP_MS).unref()
  }

  /** Throws what the search does; ETIMEDOUT when it hangs, EBUSY where an earlier one hangs, ECANCELED after close(). */
  search(what: What): Promise<Found> {
    return new Promise((resolve, reject) => {
      this.#dispatch({ what, resolve, reject })
    })
  }

  /** Ends the threads; who waits gets ECANCELED. */
  close(): void {
    this.#idle.close()
    const threads = this.#thread === undefined ? [...this.#slow] : [this.#thread, ...this.#slow]
    for (const thread of threads) this.#end(thread, systemError(os.errno.ECANCELED, 'search'))
  }

  #dispatch(waiting: Waiting): void {
    const same = [...this.#slow].find(({ first }) => first !== undefined && isSame(first.what, waiting.what))
    const thread = same ?? (this.#thread ??= this.#start())
    thread.post(waiting.what, this.#hanging.size === 0 ? undefined : new Set(this.#hanging.values()), waiting)
  }

  #start(): SearchThread<Waiting> {
    const thread: SearchThread<Waiting> = new SearchThread(this.#places, {
      found: ({ resolve, reject }, found) => {
        if ('failure' in found) reject(errorOfFailure(found.failure))
        else resolve(found)
        if (thread.first === undefined) this.#rest(thread)
      },
      slow: () => {
        this.#relieve(thread)
      },
      hangs: () => {
        this.#giveUp(thread)
      },
      failed: (error) => {
        this.#end(thread, error)
      }
    })
    return thread
  }

  /** Keeps the thread for a while, or the one that took its place. */
  #rest(thread: SearchThread<Waiting>): void {
    this.#slow.delete(thread)
    this.#thread ??= thread
    if (this.#thread !== thread) thread.end()
    this.#idle.refresh()
  }

  /** Lets another thread do what waits behind a search, unless it asks for the same. */
  #relieve(thread: SearchThread<Waiting>): void {
    if (this.#slow.has(thread) || this.#slow.size + this.#hanging.size >= MOST_SLOW) return
    this.#slow.add(thread)
    if (this.#thread === thread) this.#thread = undefined
    for (const waiting of thread.passOn()) this.#dispatch(waiting)
  }

  /** Goes on without a thread that hangs; it ends when it comes back. */
  #giveUp(thread: SearchThread<Waiting>): void {
    const { place, entry } = thread.whereabouts.read()
    const [first, ...others] = [...thread.takeAll()]
    this.#end(thread, undefined)
    this.#hanging.set(thread, entry ?? place)
    thread.whenEnded(() => this.#hanging.delete(thread))
    if (first === undefined) return
    // A list is one without what hangs.
    if ('all' in first.what && entry !== undefined) this.#dispatch(first)
    else first.reject(systemError(os.errno.ETIMEDOUT, 'search', entry ?? place))
    for (const waiting of others) this.#dispatch(waiting)
  }

  #end(thread: SearchThread<Waiting> | undefined, reason: unknown): void {
    if (thread === undefined) return
    if (this.#thread === thread) this.#thread = undefined
    this.#slow.delete(thread)
    for (const { reject } of thread.takeAll()) reject(reason)
    thread.end()
  }
}

/** Whether two searches go to the same places, as far as anything there may hang. */
function isSame(one: What, other: What): boolean {
  return subjectOf(one) === subjectOf(other)
}

function subjectOf(what: What): string | undefined {
  if ('name' in what) return what.name
  if ('all' in what) return undefined
  return typeof what.inside === 'string' ? what.inside : what.inside.name
}

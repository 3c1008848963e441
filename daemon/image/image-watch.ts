import { isSystemError } from '../base/errors.ts'
import { Inotify, readInotify, type InotifyEvent } from '../linux/inotify.ts'
import type { JobThreads } from '../linux/job-threads.ts'
import { closeFd, inotifyInit } from '../linux/libc.ts'
import { MountWatch } from '../linux/mount-watch.ts'
import { Poll } from '../linux/poll.ts'
import type { ImageJobs } from './image-thread.ts'
import type { Awaited, WatchRequest } from './watch-places.ts'

const GONE = Inotify.deletedItself | Inotify.movedItself | Inotify.unmounted | Inotify.overflow | Inotify.ignored
/** How long it may take to begin to watch a directory, in milliseconds. */
const HANGS_MS = 5000
const COME = Inotify.created | Inotify.movedTo
/** How many searches may follow one that may have come too early. A rest is before each: time enough for who opens and changes. */
const MOST_LOOKS = 3

/**
 * Says when something happens in the directories where images are searched for, or to mounts, which can cover or be any of
 * these directories and what is in them. What that is, a search has to tell.
 */
export class ImageWatch {
  readonly #search: readonly string[]
  readonly #threads: JobThreads<ImageJobs>
  readonly #happened: () => void
  #mounts: MountWatch | undefined
  #watched: { readonly fd: number; readonly poll: Poll } | undefined
  #awaited: readonly Awaited[] = []
  #closed = false
  /** Whether there are directories that are not watched yet. */
  #stale = true
  /** Whether some are on file systems that did not answer. */
  #isPartial = false
  #isSearching = false
  /** Whether an image was closed during the search. */
  #isAmbiguous = false
  /** How many more searches to ask for because of such images alone. */
  #looksLeft = 0

  constructor(search: readonly string[], threads: JobThreads<ImageJobs>, happened: () => void) {
    this.#search = search
    this.#threads = threads
    this.#happened = happened
  }

  /** Begins to watch what there is by now. What happens after this is told of. Throws SystemError. */
  async renew(): Promise<void> {
    this.#mounts ??= new MountWatch(() => {
      this.#stale = true
      this.#happened()
    })
    if (!this.#stale && !this.#isPartial) return
    const fd = inotifyInit()
    let awaited: readonly Awaited[]
    // Mounts can change again meanwhile.
    this.#stale = false
    this.#isPartial = false
    try {
      awaited = await this.#watchAll(fd)
    } catch (error) {
      this.#stale = true
      closeFd(fd)
      throw error
    }
    this.#watched?.poll.close()
    this.#awaited = awaited
    const poll = new Poll(
      fd,
      () => {
        this.#take(readInotify(fd))
      },
      { ownsFd: true }
    )
    this.#watched = { fd, poll }
    if (this.#closed) poll.close()
    else poll.start({ readable: true })
  }

  /**
   * Has a search done. It may open images itself, which looks like what others do to them meanwhile. As it may have come too
   * early for that, some more follow; they end when nothing else has happened.
   */
  async aside<T>(search: () => Promise<T>): Promise<T> {
    this.#isSearching = true
    this.#isAmbiguous = false
    try {
      return await search()
    } finally {
      if (!this.#closed) this.#takeAll()
      this.#isSearching = false
      this.#lookAgain()
    }
  }

  close(): void {
    this.#closed = true
    this.#mounts?.close()
    this.#watched?.poll.close()
  }

  async #watchAll(fd: number): Promise<Awaited[]> {
    const awaited: Awaited[] = []
    for (const directory of this.#search) {
      const place = await this.#unlessHanging('watchPlace', { fd, directory })
      awaited.push(...(place?.awaited ?? []))
      for (const versioned of place?.versioned ?? []) {
        await this.#unlessHanging('watchVersions', { fd, directory: versioned })
      }
    }
    return awaited
  }

  /** Undefined where a file system does not answer: that is no reason not to tell of others. */
  async #unlessHanging<J extends 'watchPlace' | 'watchVersions'>(
    job: J,
    request: WatchRequest
  ): Promise<ReturnType<ImageJobs[J]> | undefined> {
    try {
      return await this.#threads.run(job, request, { patience: { ms: HANGS_MS, subject: request.directory } })
    } catch (error) {
      if (!isSystemError(error) || !['ETIMEDOUT', 'EBUSY'].includes(error.code)) throw error
      this.#isPartial = true
      return undefined
    }
  }

  #lookAgain(): void {
    if (!this.#isAmbiguous || this.#looksLeft === 0) return
    this.#looksLeft--
    this.#happened()
  }

  #takeAll(): void {
    if (this.#watched === undefined) return
    for (;;) {
      const events = readInotify(this.#watched.fd)
      if (events.length === 0) return
      this.#take(events)
    }
  }

  #take(events: readonly InotifyEvent[]): void {
    if (events.some((event) => this.#changesPlaces(event))) this.#stale = true
    if (!this.#stale && !events.some((event) => this.#isOfImages(event))) return
    this.#looksLeft = MOST_LOOKS
    this.#happened()
  }

  #changesPlaces({ watch, mask, name }: InotifyEvent): boolean {
    if ((mask & GONE) !== 0) return true
    if ((mask & COME) === 0) return false
    return name.endsWith('.v') || this.#awaited.some((awaited) => awaited.watch === watch && awaited.name === name)
  }

  /** Where a directory is awaited, all other entries are none of our business. */
  #isOfImages({ watch, mask, name }: InotifyEvent): boolean {
    if (this.#awaited.some((awaited) => awaited.watch === watch)) return false
    if ((mask & Inotify.closedAfterReading) === 0) return true
    // The directory itself is opened by every search, and by who lists what is in it.
    if (name === '') return false
    if (this.#isSearching) this.#isAmbiguous = true
    return !this.#isSearching
  }
}

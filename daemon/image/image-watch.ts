import { Inotify, readInotify, type InotifyEvent } from '../linux/inotify.ts'
import type { JobThreads } from '../linux/job-threads.ts'
import { closeFd, inotifyInit } from '../linux/libc.ts'
import { Poll } from '../linux/poll.ts'
import type { ImageJobs } from './image-thread.ts'
import type { Awaited } from './watch-places.ts'

const GONE = Inotify.deletedItself | Inotify.movedItself | Inotify.unmounted | Inotify.overflow | Inotify.ignored
const COME = Inotify.created | Inotify.movedTo

/** Says when something happens in the directories where images are searched for. What that is, a search has to tell. */
export class ImageWatch {
  readonly #search: readonly string[]
  readonly #threads: JobThreads<ImageJobs>
  readonly #happened: () => void
  #poll: Poll | undefined
  #awaited: readonly Awaited[] = []
  #closed = false
  /** Whether there are directories that are not watched yet. */
  #stale = true

  constructor(search: readonly string[], threads: JobThreads<ImageJobs>, happened: () => void) {
    this.#search = search
    this.#threads = threads
    this.#happened = happened
  }

  /** Begins to watch what there is by now. What happens after this is told of. Throws SystemError. */
  async renew(): Promise<void> {
    if (!this.#stale) return
    const fd = inotifyInit()
    let awaited: readonly Awaited[]
    try {
      awaited = await this.#threads.run('watchPlaces', { fd, search: this.#search })
    } catch (error) {
      closeFd(fd)
      throw error
    }
    this.#stale = false
    this.#poll?.close()
    this.#awaited = awaited
    this.#poll = new Poll(
      fd,
      () => {
        this.#take(readInotify(fd))
      },
      { ownsFd: true }
    )
    if (this.#closed) this.#poll.close()
    else this.#poll.start({ readable: true })
  }

  close(): void {
    this.#closed = true
    this.#poll?.close()
  }

  #take(events: readonly InotifyEvent[]): void {
    if (events.some((event) => this.#changesPlaces(event))) this.#stale = true
    if (this.#stale || events.some((event) => this.#isOfImages(event))) this.#happened()
  }

  #changesPlaces({ watch, mask, name }: InotifyEvent): boolean {
    if ((mask & GONE) !== 0) return true
    if ((mask & COME) === 0) return false
    return name.endsWith('.v') || this.#awaited.some((awaited) => awaited.watch === watch && awaited.name === name)
  }

  /** Where a directory is awaited, all other entries are none of our business. */
  #isOfImages({ watch }: InotifyEvent): boolean {
    return !this.#awaited.some((awaited) => awaited.watch === watch)
  }
}

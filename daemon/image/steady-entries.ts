import { FileStatuses } from '../linux/file-statuses.ts'
import type { EntryImages, Known } from './entry-images.ts'
import type { Image } from './image.ts'
import type { Entry, Place } from './search-directory.ts'

/** An entry of a search directory, and the how many-th it is. */
interface Numbered {
  readonly at: number
  readonly entry: Entry
}

/**
 * The entries of a search directory of which statx(2) tells whether they still stand for what they did, as of most it does,
 * and those of which it does not. To look at the former is most of what a list takes.
 */
export class SteadyEntries {
  readonly #images: EntryImages
  readonly #all: readonly Numbered[]
  readonly #steady: readonly Numbered[]
  readonly #others: ReadonlySet<Numbered>
  readonly #statuses: FileStatuses
  /** Something on each mount that there are steady ones on. */
  readonly #mounts: readonly Known[]

  /** `found` is what the entries stand for. */
  constructor(entries: readonly Entry[], found: readonly (Image | undefined)[], images: EntryImages) {
    const known = new Map<Numbered, Known>()
    const others = new Set<Numbered>()
    const all = entries.map((entry, at) => ({ at, entry }))
    for (const one of all) {
      const what = images.lastingAt(one.entry, found[one.at])
      if (what === undefined) others.add(one)
      else known.set(one, what)
    }
    this.#images = images
    this.#all = all
    this.#steady = [...known.keys()]
    this.#others = others
    this.#statuses = new FileStatuses([...known].map(([{ entry }, { status }]) => ({ name: entry.bytes, status })))
    this.#mounts = [...new Map([...known.values()].map((one) => [one.status.mount, one])).values()]
  }

  /** Which entries may stand for something else by now. */
  doubtful({ fd }: Place): readonly Numbered[] {
    const images = this.#images
    const isSure = images.hanging.size === 0 && this.#mounts.every((known) => images.isMountedAlike(known))
    if (!isSure) return this.#all
    const differing = this.#statuses.differing(fd, (names, start) => {
      images.enter(names, start)
    })
    return [...this.#others, ...differing.map((at) => this.#steady[at]).filter((one) => one !== undefined)]
  }

  /** The same after those were looked at, and found to stand for something. */
  after(doubtful: readonly Numbered[], found: readonly (Image | undefined)[]): SteadyEntries {
    const isAsBefore = (one: Numbered): boolean =>
      this.#others.has(one) && this.#images.lastingAt(one.entry, found[one.at]) === undefined
    if (doubtful.every(isAsBefore)) return this
    return new SteadyEntries(
      this.#all.map(({ entry }) => entry),
      found,
      this.#images
    )
  }
}

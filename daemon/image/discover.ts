import { constants as os } from 'node:os'
import { systemError } from '../base/errors.ts'
import { EntryImages } from './entry-images.ts'
import { mayBe, SUFFIXES } from './entry-name.ts'
import { HOST_IMAGE, isValidImageName, type Image } from './image.ts'
import { type Listing, readListing } from './listing.ts'
import type { ImagePlaces } from './places.ts'
import { entryOf, type Place, withPlace } from './search-directory.ts'
import { Whereabouts } from './whereabouts.ts'

const NONE: readonly never[] = []

/** What of a manager's places matters here. */
export type SearchPlaces = Pick<ImagePlaces, 'scope' | 'search'>

/** What find() may add to what list() found before all is forgotten. */
const MOST_UNLISTED = 256

/**
 * Finds images (spec/dbus.md 8.1 to 8.3). What it knows is true again after one statx(2) of each entry; only what that
 * cannot tell is read each time. An entry that cannot be looked at hides no other. All of it is synchronous: for a thread,
 * which may hang in a file system and says at what.
 */
export class Discovery {
  readonly #places: SearchPlaces
  readonly #whereabouts: Whereabouts
  readonly #images: EntryImages
  readonly #listings = new Map<string, Listing>()
  /** What was found last in each search directory, and of them all. */
  #parts: readonly (readonly Image[])[] = []
  #host: readonly Image[] = NONE
  #last: readonly Image[] = []

  constructor(places: SearchPlaces, whereabouts = new Whereabouts()) {
    this.#places = places
    this.#whereabouts = whereabouts
    this.#images = new EntryImages(whereabouts)
  }

  /** Paths at which other threads hang, to keep away from: of search directories or entries of them. */
  get hanging(): ReadonlySet<string> {
    return this.#images.hanging
  }

  set hanging(paths) {
    this.#images.hanging = paths
  }

  /** All images; the same array as last time when nothing has changed. Throws when a search directory cannot be read. */
  list(): readonly Image[] {
    this.#images.begin()
    const parts = this.#places.search.map((directory) => this.#imagesIn(directory))
    parts.push(this.#hostImages())
    if (parts.every((part, at) => part === this.#parts[at])) return this.#last
    this.#parts = parts
    const images = new Map<string, Image>()
    for (const image of parts.flat()) if (!images.has(image.name)) images.set(image.name, image)
    this.#forgetMissing()
    this.#last = [...images.values()]
    return this.#last
  }

  /** The image of a name; undefined when there is none. Throws as list(), and EBUSY for one at which another thread hangs. */
  find(name: string): Image | undefined {
    if (!isValidImageName(name)) return undefined
    if (this.#images.size > this.#last.length + MOST_UNLISTED) this.#images.keepOnly(new Set())
    this.#images.begin()
    for (const directory of this.#places.search) {
      const image = this.#withPlace(directory, (place) => this.#findIn(place, name))
      if (image !== undefined) return image
    }
    return name === HOST_IMAGE ? this.#hostImages()[0] : undefined
  }

  /** The images in a search directory; the same array as last time when nothing has changed. */
  #imagesIn(directory: string): readonly Image[] {
    const last = this.#listings.get(directory)
    const listing = this.#withPlace(directory, (place) => readListing(place, last, this.#images))
    if (listing === undefined) this.#listings.delete(directory)
    else this.#listings.set(directory, listing)
    return listing?.images ?? NONE
  }

  #findIn(place: Place, name: string): Image | undefined {
    for (const suffix of SUFFIXES) {
      const entry = entryOf(place, name + suffix, true)
      if (entry.bytes.length > 256) continue
      this.#requireAnswers(entry.path)
      const image = this.#images.at(place, entry, (entry, kind) =>
        mayBe(entry, kind) && !(suffix === '' && name.endsWith('.v')) ? { image: name, suffix } : undefined
      )
      if (image !== undefined) return image
    }
    return undefined
  }

  /** The host, where it is one of the images. */
  #hostImages(): readonly Image[] {
    if (this.#places.scope !== 'system') return NONE
    const host = this.#images.host()
    if (this.#host[0] !== host) this.#host = host === undefined ? NONE : [host]
    return this.#host
  }

  #withPlace<T>(directory: string, work: (place: Place) => T): T | undefined {
    this.#requireAnswers(directory)
    this.#whereabouts.enterPlace(directory)
    return withPlace(directory, (place) => {
      this.#requireAnswers(place.path)
      this.#whereabouts.enterPlace(place.path)
      return work(place)
    })
  }

  #requireAnswers(path: string): void {
    if (this.hanging.has(path)) throw systemError(os.errno.EBUSY, 'search', path)
  }

  /** Forgets what is gone, so that no more is known than there is. */
  #forgetMissing(): void {
    const entries = [...this.#listings.values()].flatMap(({ names }) => names.entries)
    this.#images.keepOnly(new Set(entries.map(({ path }) => path)))
  }
}

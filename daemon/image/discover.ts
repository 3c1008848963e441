import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { join } from 'node:path'
import { isSystemError, systemError } from '../base/errors.ts'
import { readAllEntries } from '../linux/directory-entries.ts'
import { nameOf } from '../linux/file-at.ts'
import { closeFd } from '../linux/libc.ts'
import { FileStatus, isOnReadOnlyMount, type FileKind } from '../linux/stat.ts'
import { imageOf, isKnownByStatus } from './attributes.ts'
import { type EntryName, mayBe, readEntryName, SUFFIXES, type Suffix } from './entry-name.ts'
import { HOST_IMAGE, isValidImageName, type Image } from './image.ts'
import type { ImagePlaces } from './places.ts'
import { entriesIn, type Entry, entryOf, type Place, withPlace } from './search-directory.ts'
import { entriesOf, pickVersion } from './versioned-directory.ts'
import { Whereabouts } from './whereabouts.ts'

const O_PATH = 0x200000
const AT_FDCWD = -100
const ROOT = nameOf('/')
const NONE: readonly never[] = []
/** A change can follow another with the same time stamp as long as the kernel's clock stands still. */
const CLOCK_TICK_US = 20_000n

/** What of a manager's places matters here. */
export type SearchPlaces = Pick<ImagePlaces, 'scope' | 'search'>

/** What find() may add to what list() found before all is forgotten. */
const MOST_UNLISTED = 256

/** What is in a search directory. */
interface Listing {
  readonly path: string
  /** What the kernel gave for it, by which the same entries are known without looking at each name. */
  readonly raw: Buffer
  readonly entries: readonly Entry[]
  /** What each entry stands for. */
  readonly found: readonly (Image | undefined)[]
  readonly images: readonly Image[]
}

/** What was seen at an entry last time. */
interface Known {
  readonly status: FileStatus
  readonly mount: number
  readonly path: string
  readonly onReadOnlyMount: boolean
  readonly image: Image
  /** Whether the same status means the same image. */
  readonly lasting: boolean
}

/** Says what an entry's name means for a file of its kind. */
type Read = (entry: string, kind: Exclude<FileKind, 'other'>) => EntryName | undefined

/**
 * Finds images (spec/dbus.md 8.1 to 8.3). What it knows is true again after one statx(2) of each entry; only what that
 * cannot tell is read each time. An entry that cannot be looked at hides no other. All of it is synchronous: for a thread,
 * which may hang in a file system and says at what.
 */
export class Discovery {
  /** Paths at which other threads hang, to keep away from: of search directories or entries of them. */
  hanging: ReadonlySet<string> = new Set()
  readonly #places: SearchPlaces
  readonly #whereabouts: Whereabouts
  readonly #known = new Map<string, Known>()
  readonly #listings = new Map<string, Listing>()
  /** What was found last in each search directory, and of them all. */
  #parts: readonly (readonly Image[])[] = []
  #host: readonly Image[] = NONE
  #last: readonly Image[] = []
  /** Which mounts are read-only, during one search. */
  readonly #mounts = new Map<number, boolean>()
  readonly #buffer = Buffer.allocUnsafeSlow(65536)
  #status = new FileStatus()

  constructor(places: SearchPlaces, whereabouts = new Whereabouts()) {
    this.#places = places
    this.#whereabouts = whereabouts
  }

  /** All images; the same array as last time when nothing has changed. Throws when a search directory cannot be read. */
  list(): readonly Image[] {
    this.#mounts.clear()
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
    if (this.#known.size > this.#last.length + MOST_UNLISTED) this.#known.clear()
    this.#mounts.clear()
    for (const directory of this.#places.search) {
      const image = this.#withPlace(directory, (place) => this.#findIn(place, name))
      if (image !== undefined) return image
    }
    return name === HOST_IMAGE ? this.#hostImages()[0] : undefined
  }

  /** The images in a search directory; the same array as last time when nothing has changed. */
  #imagesIn(directory: string): readonly Image[] {
    const listing = this.#withPlace(directory, (place) => {
      const last = this.#listings.get(directory)
      const raw = readAllEntries(place.fd, this.#buffer)
      const isSame = last?.path === place.path && last.raw.equals(raw)
      const entries = isSame ? last.entries : entriesIn(place, raw)
      if (isSame && entries.every((entry, at) => this.#imageAt(place, entry, readEntryName) === last.found[at]))
        return last
      const found = entries.map((entry) => this.#imageAt(place, entry, readEntryName))
      return {
        path: place.path,
        raw: isSame ? last.raw : Buffer.from(raw),
        entries,
        found,
        images: best(entries, found)
      }
    })
    if (listing === undefined) this.#listings.delete(directory)
    else this.#listings.set(directory, listing)
    return listing?.images ?? NONE
  }

  #findIn(place: Place, name: string): Image | undefined {
    for (const suffix of SUFFIXES) {
      const entry = entryOf(place, name + suffix, true)
      if (entry.bytes.length > 256) continue
      this.#requireAnswers(entry.path)
      const image = this.#imageAt(place, entry, (entry, kind) =>
        mayBe(entry, kind) && !(suffix === '' && name.endsWith('.v')) ? { image: name, suffix } : undefined
      )
      if (image !== undefined) return image
    }
    return undefined
  }

  /** The image that an entry stands for, `read` saying what its name means for a file of its kind. */
  #imageAt({ fd }: Place, entry: Entry, read: Read): Image | undefined {
    if (this.hanging.has(entry.path)) return undefined
    this.#whereabouts.enterEntry(entry.bytes)
    const known = this.#known.get(entry.path)
    try {
      if (!this.#status.tryRead(fd, entry.bytes)) return undefined
      if (!entry.isLink && known?.path === entry.path && this.#isUnchanged(known, entry)) return known.image
      const { kind } = this.#status
      if (kind === 'other') return undefined
      const meaning = read(entry.name, kind)
      if (meaning === undefined || !isValidImageName(meaning.image)) return undefined
      const path = entry.isLink ? fs.realpathSync.native(entry.path) : entry.path
      if (!meaning.suffix.endsWith('.v')) return this.#imageOf(meaning.image, path, entry.path)
      const version = pickIn(path, meaning)
      if (version === undefined) return undefined
      this.#status.read(AT_FDCWD, nameOf(version))
      return this.#imageOf(meaning.image, version, entry.path)
    } catch (error) {
      if (isSystemError(error)) return undefined
      throw error
    }
  }

  /** The host, where it is one of the images. */
  #hostImages(): readonly Image[] {
    if (this.#places.scope !== 'system') return NONE
    this.#whereabouts.enterPlace('/')
    this.#status.read(AT_FDCWD, ROOT)
    const host = this.#imageOf(HOST_IMAGE, '/', '/')
    if (this.#host[0] !== host) this.#host = host === undefined ? NONE : [host]
    return this.#host
  }

  /** The image at `path`, which `#status` is about. */
  #imageOf(name: string, path: string, entry: string): Image | undefined {
    const status = this.#status
    const onReadOnlyMount = status.kind !== 'block' && this.#isReadOnly(status.mount, path)
    const known = this.#known.get(entry)
    const isSame = known?.path === path && known.onReadOnlyMount === onReadOnlyMount && known.image.name === name
    if (isSame && known.lasting && known.status.equals(status)) return known.image
    const now = BigInt(Date.now()) * 1000n
    const made = imageOf({ name, path, entry, status, onReadOnlyMount })
    if (made === undefined) return undefined
    const image = known !== undefined && isEqual(known.image, made) ? known.image : made
    const lasting = isKnownByStatus(image.type) && status.changed < now - CLOCK_TICK_US
    this.#known.set(entry, { status, mount: status.mount, path, onReadOnlyMount, image, lasting })
    this.#status = new FileStatus()
    return image
  }

  /** Whether what a list found at an entry that is no link is true still; it is for most, so this is looked at first. */
  #isUnchanged({ status, mount, lasting, onReadOnlyMount, image }: Known, { name }: Entry): boolean {
    // find() can have come by it under another name.
    const isListed = name.length === image.name.length + (image.type === 'raw' ? '.raw'.length : 0)
    const isSame = isListed && lasting && status.equals(this.#status)
    return isSame && this.#mounts.get(mount) === onReadOnlyMount
  }

  #isReadOnly(mount: number, path: string): boolean {
    let readOnly = this.#mounts.get(mount)
    if (readOnly === undefined) {
      const fd = fs.openSync(path, O_PATH)
      try {
        readOnly = isOnReadOnlyMount(fd)
      } finally {
        closeFd(fd)
      }
      this.#mounts.set(mount, readOnly)
    }
    return readOnly
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
    const present = new Set(['/'])
    for (const { entries } of this.#listings.values()) for (const { path } of entries) present.add(path)
    for (const path of this.#known.keys()) if (!present.has(path)) this.#known.delete(path)
  }
}

/** Where several entries of a directory stand for one name, that which find() would find is it. */
function best(entries: readonly Entry[], images: readonly (Image | undefined)[]): readonly Image[] {
  const found = new Map<string, { image: Image; rank: number }>()
  entries.forEach(({ name }, at) => {
    const image = images[at]
    if (image === undefined) return
    const rank = rankOf(name, image)
    const other = found.get(image.name)
    if (other === undefined || rank < other.rank) found.set(image.name, { image, rank })
  })
  return [...found.values()].map(({ image }) => image)
}

/** The path of the best version in a versioned directory, links resolved. */
function pickIn(directory: string, { image, suffix }: { image: string; suffix: Suffix }): string | undefined {
  const inner = suffix.slice(0, -'.v'.length)
  const entries = inner === '.raw' ? entriesOf(directory, 'regular', 'block') : entriesOf(directory, 'directory')
  const version = pickVersion(entries, { name: image, suffix: inner, tries: true })
  return version === undefined ? undefined : fs.realpathSync.native(join(directory, version))
}

/** The place among the entries of one image; a directory named as a file should be comes last, as find() does not find it. */
function rankOf(entry: string, { name, type }: Image): number {
  if (entry === name && name.endsWith('.raw') && type !== 'block') return SUFFIXES.length
  return SUFFIXES.indexOf(entry.slice(name.length) as Suffix)
}

function isEqual(a: Image, b: Image): boolean {
  return Object.entries(a).every(([key, value]) => b[key as keyof Image] === value)
}

import * as fs from 'node:fs'
import { join } from 'node:path'
import { isSystemError } from '../base/errors.ts'
import { forEachEntry } from '../linux/directory-entries.ts'
import { nameOf } from '../linux/file-at.ts'
import { closeFd } from '../linux/libc.ts'
import { FileStatus, isOnReadOnlyMount, type FileKind } from '../linux/stat.ts'
import { imageOf, isKnownByStatus } from './attributes.ts'
import { mayBe, readEntryName, SUFFIXES, type Suffix } from './entry-name.ts'
import { HOST_IMAGE, isValidImageName, type Image } from './image.ts'
import type { ImagePlaces } from './places.ts'
import { entriesOf, pickVersion } from './versioned-directory.ts'

const O_PATH = 0x200000
const AT_FDCWD = -100
const DT_UNKNOWN = 0
const DT_LNK = 10
/** A change can follow another with the same time stamp as long as the kernel's clock stands still. */
const CLOCK_TICK_US = 20_000n

/** What of a manager's places matters here. */
export type SearchPlaces = Pick<ImagePlaces, 'scope' | 'search'>

/** What find() may add to what list() found before all is forgotten. */
const MOST_UNLISTED = 256

/** A search directory during a search. */
interface Place {
  readonly fd: number
  /** Links resolved. */
  readonly path: string
}

/** What was seen at an entry last time. */
interface Known {
  readonly status: FileStatus
  readonly path: string
  readonly onReadOnlyMount: boolean
  readonly image: Image
  /** Whether the same status means the same image. */
  readonly lasting: boolean
}

/**
 * Finds images (spec/dbus.md 8.1 to 8.3). What it knows is true again after one statx(2) of each entry; only what that
 * cannot tell is read each time. An entry that cannot be looked at hides no other. All of it is synchronous: for a thread.
 */
export class Discovery {
  readonly #places: SearchPlaces
  readonly #known = new Map<string, Known>()
  #last: readonly Image[] = []
  /** Which mounts are read-only, during one search. */
  readonly #mounts = new Map<bigint, boolean>()
  readonly #buffer = Buffer.allocUnsafeSlow(65536)
  #status = new FileStatus()

  constructor(places: SearchPlaces) {
    this.#places = places
  }

  /** All images; the same array as last time when nothing has changed. Throws when a search directory cannot be read. */
  list(): readonly Image[] {
    this.#mounts.clear()
    const images = new Map<string, Image>()
    for (const place of this.#openPlaces()) {
      try {
        for (const image of this.#imagesIn(place)) if (!images.has(image.name)) images.set(image.name, image)
      } finally {
        closeFd(place.fd)
      }
    }
    if (this.#places.scope === 'system' && !images.has(HOST_IMAGE)) {
      const host = this.#hostImage()
      if (host !== undefined) images.set(HOST_IMAGE, host)
    }
    return this.#remember([...images.values()])
  }

  /** The image of a name; undefined when there is none. Throws as list(). */
  find(name: string): Image | undefined {
    if (!isValidImageName(name)) return undefined
    if (this.#known.size > this.#last.length + MOST_UNLISTED) this.#known.clear()
    this.#mounts.clear()
    for (const place of this.#openPlaces()) {
      try {
        const image = this.#findIn(place, name)
        if (image !== undefined) return image
      } finally {
        closeFd(place.fd)
      }
    }
    return name === HOST_IMAGE && this.#places.scope === 'system' ? this.#hostImage() : undefined
  }

  *#openPlaces(): Generator<Place> {
    for (const directory of this.#places.search) {
      const fd = openIfThere(directory)
      if (fd !== undefined) yield { fd, path: fs.realpathSync.native(directory) }
    }
  }

  /** Where several entries of a directory stand for one name, that which find() would find is it. */
  #imagesIn(place: Place): Image[] {
    const found = new Map<string, { image: Image; rank: number }>()
    for (const [entry, isLink] of this.#entriesOf(place)) {
      const image = this.#imageAt(place, entry, isLink, (kind) => readEntryName(entry, kind))
      if (image === undefined) continue
      const rank = rankOf(entry, image)
      const other = found.get(image.name)
      if (other === undefined || rank < other.rank) found.set(image.name, { image, rank })
    }
    return [...found.values()].map(({ image }) => image)
  }

  #entriesOf({ fd }: Place): [entry: string, isLink: boolean][] {
    const entries: [string, boolean][] = []
    forEachEntry(fd, this.#buffer, (bytes, type) => {
      const name = bytes.toString('utf8', 0, bytes.indexOf(0))
      // Unfinished downloads. What is no UTF-8 has become U+FFFD, which no image's name may have.
      if (!name.startsWith('.sysupdate.')) entries.push([name, type === DT_LNK || type === DT_UNKNOWN])
    })
    return entries
  }

  #findIn(place: Place, name: string): Image | undefined {
    for (const suffix of SUFFIXES) {
      const entry = name + suffix
      if (Buffer.byteLength(entry) > 255) continue
      const image = this.#imageAt(place, entry, true, (kind) =>
        mayBe(entry, kind) && !(suffix === '' && name.endsWith('.v')) ? { image: name, suffix } : undefined
      )
      if (image !== undefined) return image
    }
    return undefined
  }

  /** The image that an entry stands for, `read` saying what its name means for a file of its kind. */
  #imageAt(
    place: Place,
    entry: string,
    isLink: boolean,
    read: (kind: Exclude<FileKind, 'other'>) => { image: string; suffix: Suffix } | undefined
  ): Image | undefined {
    const entryPath = place.path === '/' ? `/${entry}` : `${place.path}/${entry}`
    const known = this.#known.get(entryPath)
    try {
      this.#status.read(place.fd, nameOf(entry))
      if (!isLink && known?.path === entryPath && this.#isUnchanged(known, entry)) return known.image
      const { kind } = this.#status
      if (kind === 'other') return undefined
      const meaning = read(kind)
      if (meaning === undefined || !isValidImageName(meaning.image)) return undefined
      const path = isLink ? fs.realpathSync.native(entryPath) : entryPath
      if (!meaning.suffix.endsWith('.v')) return this.#imageOf(meaning.image, path, entryPath)
      const version = pickIn(path, meaning)
      if (version === undefined) return undefined
      this.#status.read(AT_FDCWD, nameOf(version))
      return this.#imageOf(meaning.image, version, entryPath)
    } catch (error) {
      if (isSystemError(error)) return undefined
      throw error
    }
  }

  #hostImage(): Image | undefined {
    this.#status.read(AT_FDCWD, nameOf('/'))
    return this.#imageOf(HOST_IMAGE, '/', '/')
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
    this.#known.set(entry, { status, path, onReadOnlyMount, image, lasting })
    this.#status = new FileStatus()
    return image
  }

  /** Whether what a list found at an entry that is no link is true still; it is for most, so this is looked at first. */
  #isUnchanged({ status, lasting, onReadOnlyMount, image }: Known, entry: string): boolean {
    // find() can have come by it under another name.
    const isListed = entry.length === image.name.length + (image.type === 'raw' ? '.raw'.length : 0)
    const isSame = isListed && lasting && status.equals(this.#status)
    return isSame && this.#mounts.get(status.mount) === onReadOnlyMount
  }

  #isReadOnly(mount: bigint, path: string): boolean {
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

  /** Forgets what is gone, so that no more is known than there is. */
  #remember(images: readonly Image[]): readonly Image[] {
    const isUnchanged = images.length === this.#last.length && images.every((image, at) => image === this.#last[at])
    if (isUnchanged) return this.#last
    const present = new Set(images.map(({ entry }) => entry))
    for (const entry of this.#known.keys()) if (!present.has(entry)) this.#known.delete(entry)
    this.#last = images
    return images
  }
}

function openIfThere(directory: string): number | undefined {
  try {
    return fs.openSync(directory, fs.constants.O_DIRECTORY)
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return undefined
    throw error
  }
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

import * as fs from 'node:fs'
import { join } from 'node:path'
import { ifPossible, isSystemError } from '../base/errors.ts'
import { entryOf } from '../linux/file-at.ts'
import { closeFd } from '../linux/libc.ts'
import { FileStatus, isOnReadOnlyMount, type FileKind } from '../linux/stat.ts'
import { imageOf, isKnownByStatus } from './attributes.ts'
import type { EntryName, Suffix } from './entry-name.ts'
import { HOST_IMAGE, isValidImageName, type Image } from './image.ts'
import type { Entry, Place } from './search-directory.ts'
import { entriesOf, pickVersion } from './versioned-directory.ts'
import type { Whereabouts } from './whereabouts.ts'

const O_PATH = 0x200000
const ROOT = '/'

/** What was seen at an entry last time. */
export interface Known {
  readonly status: FileStatus
  readonly path: string
  readonly onReadOnlyMount: boolean
  readonly image: Image
  /** Whether the same status means the same image. */
  readonly lasting: boolean
}

/** Says what an entry's name means for a file of its kind. */
export type Read = (entry: string, kind: Exclude<FileKind, 'other'>) => EntryName | undefined

/** The images that entries of search directories stand for, of which it remembers what it saw. */
export class EntryImages {
  /** Paths at which other threads hang, to keep away from: of search directories or entries of them. */
  hanging: ReadonlySet<string> = new Set()
  readonly #whereabouts: Whereabouts
  readonly #known = new Map<string, Known>()
  /** Which mounts are read-only, during one search. */
  readonly #mounts = new Map<number, boolean>()
  /** When the search began, in microseconds since 1970. */
  #now = 0n
  #status = new FileStatus()

  constructor(whereabouts: Whereabouts) {
    this.#whereabouts = whereabouts
  }

  /** How many entries are remembered. */
  get size(): number {
    return this.#known.size
  }

  /** To be called before each search. */
  begin(): void {
    this.#mounts.clear()
    this.#now = BigInt(Date.now()) * 1000n
  }

  /** Whether what changes from now on will show in another time stamp than that of a status. */
  isSettled(status: FileStatus): boolean {
    return status.isSettled(this.#now)
  }

  /** Says which name is looked at: the one that starts somewhere in a buffer and ends with a zero. */
  enter(names: Buffer, start = 0): void {
    this.#whereabouts.enterEntry(names, start)
  }

  /** The image that an entry stands for, `read` saying what its name means for a file of its kind. Does not throw. */
  at({ fd }: Place, entry: Entry, read: Read): Image | undefined {
    if (this.hanging.has(entry.path)) return undefined
    this.enter(entry.bytes)
    try {
      if (!this.#status.tryRead(fd, entry.bytes)) return undefined
      const { kind } = this.#status
      if (kind === 'other') return undefined
      const meaning = read(entry.name, kind)
      if (meaning === undefined || !isValidImageName(meaning.image)) return undefined
      const path = entry.isLink ? fs.realpathSync.native(entry.path) : entry.path
      if (!meaning.suffix.endsWith('.v')) return this.#imageOf(meaning.image, path, entry.path)
      const version = pickIn(path, meaning)
      if (version === undefined) return undefined
      this.#readStatus(version)
      return this.#imageOf(meaning.image, version, entry.path)
    } catch (error) {
      if (isSystemError(error)) return undefined
      throw error
    }
  }

  /** The host as an image. Throws when it cannot be looked at. */
  host(): Image | undefined {
    this.#whereabouts.enterPlace(ROOT)
    this.#readStatus(ROOT)
    return this.#imageOf(HOST_IMAGE, ROOT, ROOT)
  }

  /** What is known of an image's entry as long as its status is the same, and the entry no link; undefined where there is more to it. */
  lastingAt({ path, isLink }: Entry, image: Image | undefined): Known | undefined {
    const known = this.#known.get(path)
    return !isLink && known?.lasting === true && known.image === image && known.path === path ? known : undefined
  }

  /** Whether the mount that something was found on is as read-only as it was then. */
  isMountedAlike({ status, path, onReadOnlyMount }: Known): boolean {
    return ifPossible(() => this.#isReadOnly(status.mount, path)) === onReadOnlyMount
  }

  /** Forgets all entries but those of some paths. */
  keepOnly(entries: ReadonlySet<string>): void {
    for (const path of this.#known.keys()) if (path !== ROOT && !entries.has(path)) this.#known.delete(path)
  }

  #readStatus(path: string): void {
    const { directory, name } = entryOf(path)
    this.#status.read(directory, name)
  }

  /** The image at `path`, which `#status` is about. */
  #imageOf(name: string, path: string, entry: string): Image | undefined {
    const status = this.#status
    const onReadOnlyMount = status.kind !== 'block' && this.#isReadOnly(status.mount, path)
    const known = this.#known.get(entry)
    const isSame = known?.path === path && known.onReadOnlyMount === onReadOnlyMount && known.image.name === name
    if (isSame && known.lasting && known.status.equals(status)) return known.image
    const made = imageOf({ name, path, entry, status, onReadOnlyMount })
    if (made === undefined) return undefined
    const image = known !== undefined && isEqual(known.image, made) ? known.image : made
    const lasting = isKnownByStatus(image.type) && this.isSettled(status)
    this.#known.set(entry, { status, path, onReadOnlyMount, image, lasting })
    this.#status = new FileStatus()
    return image
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
}

/** The path of the best version in a versioned directory, links resolved. */
function pickIn(directory: string, { image, suffix }: { image: string; suffix: Suffix }): string | undefined {
  const inner = suffix.slice(0, -'.v'.length)
  const entries = inner === '.raw' ? entriesOf(directory, 'regular', 'block') : entriesOf(directory, 'directory')
  const version = pickVersion(entries, { name: image, suffix: inner, tries: true })
  return version === undefined ? undefined : fs.realpathSync.native(join(directory, version))
}

function isEqual(a: Image, b: Image): boolean {
  return Object.entries(a).every(([key, value]) => b[key as keyof Image] === value)
}

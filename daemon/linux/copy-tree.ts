import { constants as fs } from 'node:fs'
import { constants as os } from 'node:os'
import { isSystemError, systemError } from '../base/errors.ts'
import { AttributeCopier } from './copy-attributes.ts'
import { ContentCopier } from './copy-content.ts'
import { CopyControl } from './copy-control.ts'
import { HardLinks } from './copy-hard-links.ts'
import { OutputFiles } from './copy-output.ts'
import { openSource, SourceFiles } from './copy-source.ts'
import { CopyStatus } from './copy-status.ts'
import { clear, makeDirectory } from './copy-target.ts'
import { forEachEntry } from './directory-entries.ts'
import {
  changeMode,
  changeModeThrough,
  changeOwner,
  changeOwnerAt,
  type Entry,
  makeLinkAt,
  makeNodeAt,
  nameOf,
  openAt,
  readLinkAt,
  setTimes,
  setTimesAt,
  statAt,
  statFd,
  textOf
} from './file-at.ts'
import { closeFd } from './libc.ts'
import { ProcDescriptors } from './proc-descriptors.ts'

/** What to copy and how (spec/dbus.md 7.9). The directories are descriptors and stay the caller's. */
export interface TreeCopyRequest {
  readonly from: { readonly directory: number; readonly name: string }
  readonly to: { readonly directory: number; readonly name: string }
  /** Whether the source is inside a machine that runs. */
  readonly fromMachine: boolean
  /** The user and group that all of the copy is to belong to; undefined keeps numbers. */
  readonly owner: number | undefined
  /** Whether files that exist make way. Directories never do: they are merged. */
  readonly replace: boolean
  /**
   * Whether this makes a copy of an image: with extended attributes of all kinds, without what is mounted in it; a directory
   * that is there already gets the properties of the source; what fails once has failed.
   */
  readonly image?: boolean
  /** The memory of a CopyControl. */
  readonly control: SharedArrayBuffer
}

/** How deep directories may nest, as in the stock daemon. Each level takes two descriptors. */
const MOST_LEVELS = 2048
/** Directories near the top are read in big pieces, those below in small ones: the buffers of all levels are kept. */
const ENTRIES_SIZE = 32 * 1024
const ENTRIES_SIZE_BELOW = 4 * 1024
const TOP_LEVELS = 8
const LINK_SIZE = 4097
const O_PATH = 0x200000
const directoryFlags = fs.O_RDONLY | fs.O_DIRECTORY | fs.O_NOFOLLOW

/** After these there is no point in going on with the rest of the tree. */
const isFinal = (error: unknown): boolean =>
  !isSystemError(error) || ['ECANCELED', 'ENOSPC', 'EDQUOT'].includes(error.code)

/**
 * Copies a file or a whole tree. No path is looked up: all goes from open directory to the next, and no link is followed, so
 * that whoever owns one of the trees can lead us nowhere, whatever is swapped meanwhile. Of a machine only what is known
 * to be a regular file is opened for reading. Goes on after most failures and throws the first one in the end, its path that of
 * the file. Throws EEXIST when there is something in the way of `to` itself; further down that is left alone.
 */
export function copyTree(request: TreeCopyRequest): void {
  const descriptors = new ProcDescriptors()
  try {
    new TreeCopy(request, descriptors).run()
  } finally {
    descriptors.close()
  }
}

class TreeCopy {
  readonly #request: TreeCopyRequest
  readonly #control: CopyControl
  readonly #content: ContentCopier
  readonly #attributes: AttributeCopier
  readonly #status = new CopyStatus()
  readonly #probe = new CopyStatus()
  readonly #link = Buffer.alloc(LINK_SIZE)
  readonly #descriptors: ProcDescriptors
  readonly #sources: SourceFiles
  readonly #outputs: OutputFiles
  readonly #buffers: Buffer[] = []
  /** Names of the directories we are in. */
  readonly #path: string[] = []
  #hardLinks: HardLinks | undefined
  /** What the tree is copied to: not to be copied itself when it is inside of the source. */
  #top = ''
  /** The user and group of what is made, until it gets others; unknown where directories are there already. */
  #initialOwner: readonly [number, number] | undefined
  #failure: { readonly error: unknown } | undefined

  constructor(request: TreeCopyRequest, descriptors: ProcDescriptors) {
    this.#request = request
    this.#control = new CopyControl(request.control)
    this.#content = new ContentCopier(this.#control)
    this.#attributes = new AttributeCopier(request.image === true ? 'all' : 'user')
    this.#descriptors = descriptors
    this.#sources = new SourceFiles(request.fromMachine, descriptors)
    this.#outputs = new OutputFiles(descriptors)
  }

  run(): void {
    const { from, to } = this.#request
    const source = { directory: from.directory, name: nameOf(from.name) }
    statAt(source, this.#status.raw)
    this.#copy(source, { directory: to.directory, name: nameOf(to.name) }, this.#status.type)
    if (this.#failure !== undefined) throw this.#failure.error
  }

  #copy(source: Entry, target: Entry, type: number): void {
    this.#control.throwIfCancelled()
    if (type === fs.S_IFDIR) this.#copyDirectory(source, target)
    else this.#copyOrReplace(source, target, type)
    this.#control.count(0, 1)
  }

  #copyOrReplace(source: Entry, target: Entry, type: number): void {
    try {
      this.#copyFile(source, target, type)
    } catch (error) {
      if (!this.#request.replace || !isSystemError(error) || error.code !== 'EEXIST') throw error
      clear(target, error)
      this.#copyFile(source, target, type)
    }
  }

  #copyFile(source: Entry, target: Entry, type: number): void {
    if (type === fs.S_IFREG) this.#copyRegular(source, target)
    else if (type === fs.S_IFLNK) this.#copyLink(source, target)
    else this.#copyNode(source, target)
  }

  #copyDirectory(source: Entry, target: Entry): void {
    const level = this.#path.length
    if (level >= MOST_LEVELS) throw systemError(os.errno.ENAMETOOLONG, 'copy')
    const input = openSource(source, directoryFlags, this.#isImage)
    if (input === undefined) return
    try {
      statFd(input, this.#status.raw)
      if (this.#status.identity === this.#top) return
      const status = this.#status.clone()
      const created = makeDirectory(target)
      const output = openAt(target, directoryFlags)
      try {
        this.#enter(output)
        this.#path.push(textOf(source.name))
        this.#copyEntries(input, output, level)
        this.#path.pop()
        if (level === 0) this.#hardLinks?.close()
        if (created || (level === 0 && this.#isImage)) this.#finish(input, output, status)
      } finally {
        if (level === 0) this.#hardLinks?.close()
        closeFd(output)
      }
    } finally {
      closeFd(input)
    }
  }

  get #isImage(): boolean {
    return this.#request.image === true
  }

  #enter(output: number): void {
    if (this.#path.length > 0) return
    statFd(output, this.#status.raw)
    this.#top = this.#status.identity
    if (this.#isImage) this.#initialOwner = [this.#status.uid, this.#status.gid]
    this.#hardLinks = new HardLinks(output)
  }

  #copyEntries(input: number, output: number, level: number): void {
    const buffer = (this.#buffers[level] ??= Buffer.allocUnsafeSlow(
      level < TOP_LEVELS ? ENTRIES_SIZE : ENTRIES_SIZE_BELOW
    ))
    forEachEntry(input, buffer, (name, kind) => {
      const source = { directory: input, name }
      try {
        this.#copy(source, { directory: output, name }, kind === 0 ? this.#typeOf(source) : kind << 12)
      } catch (error) {
        this.#note(error, name)
      }
    })
  }

  /** What exists already is left alone; anything else is told in the end. An image that runs loses files meanwhile. */
  #note(error: unknown, name: Buffer): void {
    if (isFinal(error)) throw error
    if (this.#isImage) {
      if ((error as { code?: unknown }).code === 'ENOENT') return
      throw error
    }
    const { code, errno, syscall } = error as Error & { code: string; errno: number; syscall: string }
    if (code === 'EEXIST') return
    this.#failure ??= { error: systemError(errno, syscall, [...this.#path, textOf(name)].join('/')) }
  }

  #copyRegular(source: Entry, target: Entry): void {
    let input = this.#sources.open(source)
    try {
      const status = this.#status
      statFd(input, status.raw)
      if (status.type !== fs.S_IFREG) throw systemError(os.errno.ESTALE, 'openat')
      if (this.#hardLinks?.link(status, target) === true) return
      input = this.#sources.makeReadable(input)
      this.#fill(input, target, status)
      this.#hardLinks?.remember(status, target)
    } finally {
      closeFd(input)
    }
  }

  #fill(input: number, target: Entry, status: CopyStatus): void {
    const output = this.#outputs.open(target, status.size)
    try {
      this.#content.copy(input, output, status)
      this.#finish(input, output, status)
      this.#outputs.complete(output, target)
    } catch (error) {
      this.#outputs.discard(target)
      throw error
    } finally {
      closeFd(output)
    }
  }

  #copyLink(source: Entry, target: Entry): void {
    // Reading changes the time of last access.
    statAt(source, this.#status.raw)
    const length = readLinkAt(source, this.#link)
    if (length === LINK_SIZE) throw systemError(os.errno.ENAMETOOLONG, 'readlinkat')
    this.#link[length] = 0
    makeLinkAt(this.#link, target)
    changeOwnerAt(target, ...this.#ownerOf(this.#status))
    setTimesAt(target, this.#status.times)
  }

  /** FIFOs, sockets and devices, none of which is ever opened. */
  #copyNode(source: Entry, target: Entry): void {
    const status = this.#status
    statAt(source, status.raw)
    const { type } = status
    if (type === fs.S_IFDIR || type === fs.S_IFREG || type === fs.S_IFLNK) throw systemError(os.errno.ESTALE, 'statx')
    makeNodeAt(target, type | 0o600, status.standsFor)
    const made = openAt(target, O_PATH | fs.O_NOFOLLOW)
    try {
      // Whoever owns the directory can have put something else there.
      statFd(made, this.#probe.raw)
      if (this.#probe.type !== type || this.#probe.links !== 1) throw systemError(os.errno.ESTALE, 'mknodat')
      changeOwner(made, ...this.#ownerOf(status))
      changeModeThrough(this.#descriptors.entryOf(made), status.mode)
    } finally {
      closeFd(made)
    }
    setTimesAt(target, status.times)
  }

  /** Mode after owner, for a change of owner takes away set-ID bits; times last. */
  #finish(input: number, output: number, status: CopyStatus): void {
    const [user, group] = this.#ownerOf(status)
    if (user !== this.#initialOwner?.[0] || group !== this.#initialOwner[1]) changeOwner(output, user, group)
    changeMode(output, status.mode)
    this.#attributes.copy(input, output)
    setTimes(output, status.times)
  }

  #ownerOf({ uid, gid }: CopyStatus): [number, number] {
    const { owner } = this.#request
    return owner === undefined ? [uid, gid] : [owner, owner]
  }

  #typeOf(entry: Entry): number {
    statAt(entry, this.#status.raw)
    return this.#status.type
  }
}

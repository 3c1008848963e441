import { constants as fs } from 'node:fs'
import { constants as os } from 'node:os'
import { isSystemError, systemError } from '../base/errors.ts'
import { AttributeCopier } from './copy-attributes.ts'
import { ContentCopier } from './copy-content.ts'
import type { CopyControl } from './copy-control.ts'
import type { HardLinks } from './copy-hard-links.ts'
import { OutputFiles } from './copy-output.ts'
import { SourceFiles } from './copy-source.ts'
import { CopyStatus } from './copy-status.ts'
import { clear, firstMode, type Target } from './copy-target.ts'
import {
  changeMode,
  changeModeThrough,
  changeOwner,
  changeOwnerAt,
  type Entry,
  makeLinkAt,
  makeNodeAt,
  openAt,
  readLinkAt,
  setTimes,
  setTimesAt,
  statAt,
  statFd
} from './file-at.ts'
import { closeFd } from './libc.ts'
import type { ProcDescriptors } from './proc-descriptors.ts'

/** How to copy files (spec/dbus.md 7.9). */
export interface FileCopyRequest {
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
}

/** A user and a group. */
export type Owner = readonly [number, number]

/** What it takes to copy files. */
export interface CopyTools {
  readonly control: CopyControl
  readonly descriptors: ProcDescriptors
  hardLinks: HardLinks | undefined
  /** To whom what is made belongs until it gets others; unknown where directories are there already. */
  initialOwner: Owner | undefined
}

const LINK_SIZE = 4097
const O_PATH = 0x200000

/** Copies files that are no directories, one after the other. */
export class FileCopier {
  readonly #request: FileCopyRequest
  readonly #tools: CopyTools
  readonly #content: ContentCopier
  readonly #attributes: AttributeCopier
  readonly #sources: SourceFiles
  readonly #outputs: OutputFiles
  readonly #status = new CopyStatus()
  readonly #probe = new CopyStatus()
  readonly #link = Buffer.alloc(LINK_SIZE)

  constructor(request: FileCopyRequest, tools: CopyTools) {
    this.#request = request
    this.#tools = tools
    this.#content = new ContentCopier(tools.control)
    this.#attributes = new AttributeCopier(request.image === true ? 'all' : 'user')
    this.#sources = new SourceFiles(request.fromMachine, tools.descriptors)
    this.#outputs = new OutputFiles(tools.descriptors)
  }

  /** Copies a file of a type, one of the S_IF constants. Throws EEXIST, ESTALE when it has another type by now. */
  copy(source: Entry, target: Target, type: number): void {
    try {
      this.#copyNew(source, target, type)
    } catch (error) {
      if (!this.#request.replace || !isSystemError(error) || error.code !== 'EEXIST') throw error
      clear(target, error)
      this.#copyNew(source, target, type)
    }
  }

  /**
   * Gives what was copied, a directory too, the properties of its source, but for a mode that it was made with. Mode after
   * owner, as that takes set-ID bits away.
   */
  finish(input: number, output: number, status: CopyStatus, madeWith?: number): void {
    const [user, group] = this.#ownerOf(status)
    const { initialOwner } = this.#tools
    if (user !== initialOwner?.[0] || group !== initialOwner[1]) changeOwner(output, user, group)
    if (status.mode !== madeWith) changeMode(output, status.mode)
    this.#attributes.copy(input, output)
    setTimes(output, status.times)
  }

  #copyNew(source: Entry, target: Target, type: number): void {
    if (type === fs.S_IFREG) this.#copyRegular(source, target)
    else if (type === fs.S_IFLNK) this.#copyLink(source, target)
    else this.#copyNode(source, target)
  }

  #copyRegular(source: Entry, target: Target): void {
    const { hardLinks } = this.#tools
    let input = this.#sources.open(source)
    try {
      const status = this.#status
      statFd(input, status.raw)
      if (status.type !== fs.S_IFREG) throw systemError(os.errno.ESTALE, 'openat')
      if (hardLinks?.link(status, target) === true) return
      input = this.#sources.makeReadable(input)
      this.#fill(input, target, status)
      hardLinks?.remember(status, target)
    } finally {
      closeFd(input)
    }
  }

  #fill(input: number, target: Target, status: CopyStatus): void {
    const mode = firstMode(target, status.mode)
    const output = this.#outputs.open(target, status.size, mode)
    try {
      this.#content.copy(input, output, status)
      this.finish(input, output, status, mode)
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
      changeModeThrough(this.#tools.descriptors.entryOf(made), status.mode)
    } finally {
      closeFd(made)
    }
    setTimesAt(target, status.times)
  }

  #ownerOf({ uid, gid }: CopyStatus): Owner {
    const { owner } = this.#request
    return owner === undefined ? [uid, gid] : [owner, owner]
  }
}

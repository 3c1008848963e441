import { constants as fs } from 'node:fs'
import { constants as os } from 'node:os'
import { systemError } from '../base/errors.ts'
import { CopyControl } from './copy-control.ts'
import { CopyFailures } from './copy-failures.ts'
import { type CopyTools, FileCopier, type FileCopyRequest } from './copy-file.ts'
import { HardLinks } from './copy-hard-links.ts'
import { openSource } from './copy-source.ts'
import { CopyStatus } from './copy-status.ts'
import { keepsModes, makeDirectory, type Target } from './copy-target.ts'
import { forEachEntry, isFile } from './directory-entries.ts'
import { type Entry, nameOf, openAt, statAt, statFd, textOf } from './file-at.ts'
import { closeFd } from './libc.ts'
import { ProcDescriptors } from './proc-descriptors.ts'
import { TreeHelper, type WorkDirectory } from './tree-helper.ts'
import type { TreeTask } from './tree-thread.ts'

/** What to copy and how (spec/dbus.md 7.9). The directories are descriptors and stay the caller's. */
export interface TreeCopyRequest extends FileCopyRequest {
  readonly from: { readonly directory: number; readonly name: string }
  readonly to: { readonly directory: number; readonly name: string }
  /** The memory of a CopyControl. */
  readonly control: SharedArrayBuffer
}

/** How deep directories may nest, as in the stock daemon. Each level takes two descriptors. */
const MOST_LEVELS = 2048
/** Directories near the top are read in big pieces, those below in small ones: the buffers of all levels are kept. */
const ENTRIES_SIZE = 32 * 1024
const ENTRIES_SIZE_BELOW = 4 * 1024
const TOP_LEVELS = 8
const directoryFlags = fs.O_RDONLY | fs.O_DIRECTORY | fs.O_NOFOLLOW

/**
 * Copies a file or a whole tree. No path is looked up: all goes from open directory to the next, and no link is followed, so
 * that whoever owns one of the trees can lead us nowhere, whatever is swapped meanwhile. Of a machine only what is known
 * to be a regular file is opened for reading. Goes on after most failures and throws the first one in the end, its path that of
 * the file. Throws EEXIST when there is something in the way of `to` itself; further down that is left alone. A second thread
 * helps with what takes long.
 */
export function copyTree(request: TreeCopyRequest): void {
  const descriptors = new ProcDescriptors()
  try {
    using copy = new TreeCopy(request, descriptors)
    copy.run()
  } finally {
    descriptors.close()
  }
}

/** A directory that is copied. */
interface CopiedDirectory extends WorkDirectory {
  readonly descriptors: readonly [number, number]
}

class TreeCopy {
  readonly #request: TreeCopyRequest
  readonly #control: CopyControl
  readonly #tools: CopyTools
  readonly #files: FileCopier
  readonly #helper: TreeHelper
  readonly #failures: CopyFailures
  readonly #status = new CopyStatus()
  readonly #buffers: Buffer[] = []
  /** Names of the directories we are in. */
  readonly #path: string[] = []
  /** What the tree is copied to: not to be copied itself when it is inside of the source. */
  #top = ''

  constructor(request: TreeCopyRequest, descriptors: ProcDescriptors) {
    this.#request = request
    this.#control = new CopyControl(request.control)
    this.#tools = { control: this.#control, descriptors, hardLinks: undefined, initialOwner: undefined }
    this.#files = new FileCopier(request, this.#tools)
    this.#helper = new TreeHelper(() => this.#describeTask())
    this.#failures = new CopyFailures(this.#isImage)
  }

  run(): void {
    const { from, to } = this.#request
    const source = { directory: from.directory, name: nameOf(from.name) }
    statAt(source, this.#status.raw)
    const target = { directory: to.directory, name: nameOf(to.name), keepsModes: false }
    this.#copy(source, target, this.#status.type)
    this.#failures.throwFirst()
  }

  [Symbol.dispose](): void {
    this.#helper[Symbol.dispose]()
  }

  #copy(source: Entry, target: Target, type: number): void {
    this.#control.throwIfCancelled()
    if (type === fs.S_IFDIR) this.#copyDirectory(source, target)
    else this.#files.copy(source, target, type)
    this.#control.count(0, 1)
  }

  #copyDirectory(source: Entry, target: Entry): void {
    const level = this.#path.length
    if (level >= MOST_LEVELS) throw systemError(os.errno.ENAMETOOLONG, 'copy')
    const directory = this.#openDirectory(source, target, level)
    if (directory === undefined) return
    try {
      if (level === 0) this.#enter(directory.descriptors[1])
      this.#path.push(textOf(source.name))
      this.#copyEntries(directory, level, this.#helper.offer(directory) ? 'directories' : 'all')
      this.#path.pop()
      if (level === 0) this.#finishTop()
    } catch (error) {
      if (level === 0) this.#abandonTop()
      this.#helper.abandon(directory)
      throw error
    }
    this.#helper.leave(directory)
  }

  /** Undefined for what is not to be copied. */
  #openDirectory(source: Entry, target: Entry, level: number): CopiedDirectory | undefined {
    const input = openSource(source, directoryFlags, this.#isImage)
    if (input === undefined) return undefined
    try {
      statFd(input, this.#status.raw)
      if (this.#status.identity !== this.#top) return this.#makeDirectory(input, source, target, level)
    } catch (error) {
      closeFd(input)
      throw error
    }
    closeFd(input)
    return undefined
  }

  #makeDirectory(input: number, source: Entry, target: Entry, level: number): CopiedDirectory {
    const status = this.#status.clone()
    const isOurs = makeDirectory(target) || (level === 0 && this.#isImage)
    const output = openAt(target, directoryFlags)
    const path = this.#pathOf(source.name)
    return {
      descriptors: [input, output],
      failed: (error) => {
        const { path: file } = error as { path?: string }
        this.#failures.add(error, () => (file === undefined ? path : `${path}/${file}`))
      },
      finish: () => {
        if (isOurs) this.#files.finish(input, output, status)
      },
      close: () => {
        closeFd(input)
        closeFd(output)
      }
    }
  }

  #enter(top: number): void {
    statFd(top, this.#status.raw)
    const { identity, uid, gid } = this.#status
    this.#top = identity
    this.#tools.hardLinks = new HardLinks(HardLinks.placeIn(top))
    if (this.#isImage) this.#tools.initialOwner = [uid, gid]
  }

  /** What changes the time of the top's last modification comes before that is set. */
  #finishTop(): void {
    this.#helper.wait()
    this.#tools.hardLinks?.remove()
  }

  /** Nothing is left of our own when something went wrong. */
  #abandonTop(): void {
    this.#helper[Symbol.dispose]()
    this.#tools.hardLinks?.remove()
  }

  get #isImage(): boolean {
    return this.#request.image === true
  }

  #describeTask(): TreeTask {
    const { fromMachine, owner, replace, control } = this.#request
    const { hardLinks, initialOwner } = this.#tools
    const request = { fromMachine, owner, replace, image: this.#isImage }
    return { kind: 'copy', request, control, hardLinks: hardLinks?.place, initialOwner }
  }

  #copyEntries({ descriptors: [input, output] }: CopiedDirectory, level: number, which: 'all' | 'directories'): void {
    const buffer = (this.#buffers[level] ??= Buffer.allocUnsafeSlow(
      level < TOP_LEVELS ? ENTRIES_SIZE : ENTRIES_SIZE_BELOW
    ))
    const keeps = which === 'all' && keepsModes(output)
    forEachEntry(input, buffer, (name, kind) => {
      if (which === 'directories' && isFile(kind)) return
      const source = { directory: input, name }
      try {
        this.#copy(
          source,
          { directory: output, name, keepsModes: keeps },
          kind === 0 ? this.#typeOf(source) : kind << 12
        )
      } catch (error) {
        this.#failures.add(error, () => this.#pathOf(name))
      }
    })
  }

  #pathOf(name: Buffer): string {
    return [...this.#path, textOf(name)].join('/')
  }

  #typeOf(entry: Entry): number {
    statAt(entry, this.#status.raw)
    return this.#status.type
  }
}

import { basename, dirname } from 'node:path'
import { ifPossible, isSystemError } from '../base/errors.ts'
import { nameOf, readLinkAt } from './file-at.ts'
import { closeFd, dupFd } from './libc.ts'
import { openOnSameMount } from './openat2.ts'
import { FileStatus, isSameStatus } from './stat.ts'

const O_PATH = 0x200000
const O_NOFOLLOW = 0x20000
const LINK_LENGTH = 256
const ROOT = '.'

/**
 * What was seen on the way to a file below a root directory, on the mount of that: the directories, links to the file, and the
 * file itself. As no directory has changed, each of the names in there is what it was.
 */
export interface Sight {
  /** The number of the mount. */
  readonly mount: number
  readonly seen: readonly Seen[]
}

interface Seen {
  /** O_PATH; the holder's to close. */
  readonly fd: number
  /** Those of its FileStatus. */
  readonly words: Int32Array
}

/**
 * Looks where a regular file is found: at the first of the paths, or at the next when that is a link to it or not there. Gives
 * what was seen, which then is the caller's; undefined when the file is somewhere else or on another mount, or when one more
 * change could look the same, as the last was just now. For threads that may hang.
 */
export function lookFor(root: number, paths: readonly string[]): Sight | undefined {
  const now = BigInt(Date.now()) * 1000n
  const lookout = new Lookout(root)
  const isGood = ifPossible(() => lookout.finds(paths) && lookout.isSettled(now)) ?? false
  if (isGood) return lookout.sight
  closeSight(lookout.sight)
  return undefined
}

/** Whether all is what it was. For any thread, where the mount is of a file system that knows it at once (standpoint.ts). */
export function isUnchanged({ seen }: Sight): boolean {
  return ifPossible(() => seen.every(isSame)) ?? false
}

/** Lets go of what was seen. */
export function closeSight({ seen }: Sight): void {
  for (const { fd } of seen) closeFd(fd)
}

const now = new FileStatus()

function isSame({ fd, words }: Seen): boolean {
  now.readKnown(fd)
  return isSameStatus(words, 0, now.words)
}

/** Sees what is on the way to paths, each directory once. */
class Lookout {
  readonly #root: number
  readonly #seen = new Map<string, { readonly fd: number; readonly status: FileStatus }>()

  constructor(root: number) {
    this.#root = root
  }

  get sight(): Sight {
    const all = [...this.#seen.values()]
    return { mount: all[0]?.status.mount ?? -1, seen: all.map(({ fd, status: { words } }) => ({ fd, words })) }
  }

  /** Whether a file that changes after `now`, or later, will look different. */
  isSettled(now: bigint): boolean {
    return [...this.#seen.values()].every(({ status }) => status.isSettled(now))
  }

  finds([path, ...later]: readonly string[]): boolean {
    if (path === undefined) return false
    const status = this.#look(path)?.status
    if (status?.kind === 'regular') return true
    return (status === undefined || this.#isLinkTo(path, later[0])) && this.finds(later)
  }

  /** What a path itself stands for; undefined when there is no such name. Throws ENOTDIR, EXDEV. */
  #look(path: string): { readonly fd: number; readonly status: FileStatus } | undefined {
    const known = this.#seen.get(path)
    if (known !== undefined) return known
    const fd = path === ROOT ? dupFd(this.#root) : this.#open(path)
    if (fd === undefined) return undefined
    const seen = { fd, status: new FileStatus() }
    // First of all, so that it is closed should it be gone by now.
    this.#seen.set(path, seen)
    seen.status.readOpen(fd)
    return seen
  }

  #open(path: string): number | undefined {
    const directory = this.#look(dirname(path))
    return directory && openIfThere(directory.fd, basename(path))
  }

  /** Whether a path is a link that leads to another by nothing but the root directory. */
  #isLinkTo(path: string, target: string | undefined): boolean {
    const directory = this.#seen.get(dirname(path))
    if (directory === undefined || target === undefined) return false
    const text = Buffer.alloc(LINK_LENGTH)
    const length = readLinkAt({ directory: directory.fd, name: nameOf(basename(path)) }, text)
    const upwards = '../'.repeat(path.split('/').length - 1)
    return [`/${target}`, `${upwards}${target}`].includes(text.toString('latin1', 0, length))
  }
}

function openIfThere(directory: number, name: string): number | undefined {
  try {
    return openOnSameMount({ directory, name: nameOf(name) }, O_PATH | O_NOFOLLOW)
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return undefined
    throw error
  }
}

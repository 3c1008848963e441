import * as fs from 'node:fs'
import { posix } from 'node:path'
import { isSystemError } from '../base/errors.ts'
import { makeDirectoryAt, nameOf, openAt, removeDirectoryAt, unlinkAt, type Entry } from './file-at.ts'
import { asFileOwner, type FileOwner } from './file-owner.ts'
import { closeFd } from './libc.ts'
import { openat2 } from './openat2.ts'

const O_PATH = 0x200000
const DIRECTORY = O_PATH | fs.constants.O_DIRECTORY
const NEW_FILE = fs.constants.O_CREAT | fs.constants.O_EXCL | fs.constants.O_NOFOLLOW | fs.constants.O_WRONLY
/** A link at the end is not followed: nothing can be mounted on it. */
const PLACE = O_PATH | fs.constants.O_NOFOLLOW
const [PARENT_MODE, DIRECTORY_MODE, FILE_MODE] = [0o755, 0o700, 0o600]

/** Where in a machine something is to be mounted. */
export interface Target {
  /** An absolute path in there. */
  readonly destination: string
  /** Makes what is missing of it, as this owner; undefined to make nothing. */
  readonly makeAs: FileOwner | undefined
}

/** A place that was found or made. Closed without `keep`, what was made of it is taken away again. */
export class MountTarget {
  /** O_PATH */
  readonly fd: number
  readonly #made: Made[]
  #kept = false

  constructor(fd: number, made: Made[]) {
    this.fd = fd
    this.#made = made
  }

  keep(): void {
    this.#kept = true
  }

  [Symbol.dispose](): void {
    closeFd(this.fd)
    clear(this.#made, this.#kept)
  }
}

/** A file or directory that was made, with a descriptor of the directory that it is in. */
interface Made extends Entry {
  readonly isDirectory: boolean
}

/**
 * Finds the place below a root directory, which no link leads out of, and makes what is missing if so told: directories
 * on the way open to all, the last one, or an empty file in its place, to its owner alone (spec/dbus.md 7.8).
 */
export function findOrMakeTarget(
  root: number,
  { destination, makeAs, isDirectory }: Target & { isDirectory: boolean }
): MountTarget {
  if (makeAs === undefined) return new MountTarget(openat2(root, destination, PLACE), [])
  const found = openUnlessMissing(root, destination, PLACE)
  if (found !== undefined) return new MountTarget(found, [])
  const made: Made[] = []
  try {
    asFileOwner(makeAs, () => {
      makeAll(root, destination, { isDirectory, made })
    })
    return new MountTarget(openat2(root, destination, PLACE), made)
  } catch (error) {
    clear(made, false)
    throw error
  }
}

function makeAll(root: number, path: string, { isDirectory, made }: { isDirectory: boolean; made: Made[] }): void {
  const parents = ancestorsOf(path)
  for (const ancestor of parents) {
    const found = openUnlessMissing(root, ancestor, DIRECTORY)
    if (found === undefined) make(root, ancestor, { isDirectory: true, mode: PARENT_MODE, made })
    else closeFd(found)
  }
  make(root, path, { isDirectory, mode: isDirectory ? DIRECTORY_MODE : FILE_MODE, made })
}

/** `/a/b/c`: `/a`, `/a/b` */
function ancestorsOf(path: string): string[] {
  const parent = posix.dirname(path)
  return parent === '/' ? [] : [...ancestorsOf(parent), parent]
}

function make(
  root: number,
  path: string,
  { isDirectory, mode, made }: { isDirectory: boolean; mode: number; made: Made[] }
): void {
  const directory = openat2(root, posix.dirname(path), DIRECTORY)
  const entry = { directory, name: nameOf(posix.basename(path)) }
  try {
    if (isDirectory) makeDirectoryAt(entry, mode)
    else closeFd(openAt(entry, NEW_FILE, mode))
  } catch (error) {
    closeFd(directory)
    throw error
  }
  made.push({ ...entry, isDirectory })
}

/** Lets go of what was made, or takes it away, the last first. What others have put there meanwhile stays. */
function clear(made: Made[], keep: boolean): void {
  for (const entry of made.splice(0).reverse()) {
    try {
      if (keep) continue
      if (entry.isDirectory) removeDirectoryAt(entry)
      else unlinkAt(entry)
    } catch (error) {
      if (!isSystemError(error)) throw error
    } finally {
      closeFd(entry.directory)
    }
  }
}

function openUnlessMissing(root: number, path: string, flags: number): number | undefined {
  try {
    return openat2(root, path, flags)
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return undefined
    throw error
  }
}

import * as fs from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { ifPossible } from '../base/errors.ts'
import { namesIn } from '../linux/file.ts'
import { Inotify, WATCH_DIRECTORY, WATCH_IN_ADDITION } from '../linux/inotify.ts'
import { closeFd, dupFd, inotifyAddWatch } from '../linux/libc.ts'

const { created, deleted, deletedItself, movedFrom, movedItself, movedTo } = Inotify
/**
 * What may be news of images in a directory. A disk image that is written is looked at when it is closed. chattr(1) and
 * the like have no event of their own, but open what they change.
 */
const OF_IMAGES =
  Inotify.attributes |
  Inotify.closedAfterWriting |
  Inotify.closedAfterReading |
  created |
  deleted |
  deletedItself |
  movedFrom |
  movedItself |
  movedTo
const OF_ARRIVALS = created | movedTo | deletedItself | movedItself
/** Directories that come and go while they are looked for. */
const MOST_ATTEMPTS = 16

/** A name in the watched directory `watch` that is to become a directory of images, or leads to one. */
export interface Awaited {
  readonly watch: number
  readonly name: string
}

/** What came of watching a directory with images. */
export interface WatchedPlace {
  readonly awaited: readonly Awaited[]
  /** Directories in it that hold versions of an image. */
  readonly versioned: readonly string[]
}

/** What to watch, by which inotify descriptor. */
export interface WatchRequest {
  readonly fd: number
  readonly directory: string
}

/**
 * Adds watches to an inotify descriptor for a directory with images, or for what has to come first where that is missing. For
 * a thread: a file system may not answer, and when it does in the end, the descriptor's number may be that of another file.
 */
export function watchPlace({ fd, directory }: WatchRequest): WatchedPlace {
  const own = dupFd(fd)
  try {
    if (watch(own, directory, OF_IMAGES) === undefined) {
      return { awaited: awaitDirectory(own, directory), versioned: [] }
    }
    return { awaited: [], versioned: versioned(directory) }
  } finally {
    closeFd(own)
  }
}

/** The same for a directory that holds versions of an image. */
export function watchVersions({ fd, directory }: WatchRequest): void {
  watch(fd, directory, OF_IMAGES)
}

/** Watches the directory that is there of those that lead to a missing one. */
function awaitDirectory(fd: number, missing: string): Awaited[] {
  for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt++) {
    let path = missing
    let descriptor: number | undefined
    while (descriptor === undefined && path !== '/') {
      const name = basename(path)
      path = dirname(path)
      descriptor = watch(fd, path, OF_ARRIVALS)
      // It may have come before the watch was there.
      if (descriptor !== undefined && !fs.existsSync(join(path, name))) return [{ watch: descriptor, name }]
    }
    if (watch(fd, missing, OF_IMAGES) !== undefined) return []
  }
  return []
}

function versioned(directory: string): string[] {
  const names = namesIn(directory)
  return names.filter((name) => name.endsWith('.v')).map((name) => join(directory, name))
}

/** Undefined where there is no such directory, or none that can be watched. */
function watch(fd: number, path: string, mask: number): number | undefined {
  return ifPossible(() => inotifyAddWatch(fd, path, mask | WATCH_DIRECTORY | WATCH_IN_ADDITION))
}

import * as fs from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { ifPossible } from '../base/errors.ts'
import { Inotify, WATCH_DIRECTORY, WATCH_IN_ADDITION } from '../linux/inotify.ts'
import { inotifyAddWatch } from '../linux/libc.ts'

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

/**
 * Adds watches for all directories with images to an inotify descriptor, also for those in them that hold versions of one,
 * and for what has to come first where a directory is missing. For a thread: a file system may not answer.
 */
export function watchPlaces({ fd, search }: { fd: number; search: readonly string[] }): Awaited[] {
  const awaited: Awaited[] = []
  for (const directory of search) {
    if (watch(fd, directory, OF_IMAGES) === undefined) awaited.push(...awaitDirectory(fd, directory))
    else for (const name of versioned(directory)) watch(fd, join(directory, name), OF_IMAGES)
  }
  return awaited
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
  return ifPossible(() => fs.readdirSync(directory).filter((name) => name.endsWith('.v'))) ?? []
}

/** Undefined where there is no such directory, or none that can be watched. */
function watch(fd: number, path: string, mask: number): number | undefined {
  return ifPossible(() => inotifyAddWatch(fd, path, mask | WATCH_DIRECTORY | WATCH_IN_ADDITION))
}

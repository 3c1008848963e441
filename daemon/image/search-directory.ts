import * as fs from 'node:fs'
import { isSystemError } from '../base/errors.ts'
import { forEachOf } from '../linux/directory-entries.ts'
import { nameOf } from '../linux/file-at.ts'
import { closeFd } from '../linux/libc.ts'
import { isValidImageName } from './image.ts'
import { pathOf } from './whereabouts.ts'

const DT_UNKNOWN = 0
const DT_LNK = 10

/** A search directory during a search. */
export interface Place {
  readonly fd: number
  /** Links resolved. */
  readonly path: string
}

/** An entry of a search directory. */
export interface Entry {
  readonly name: string
  /** The same with a zero at its end. */
  readonly bytes: Buffer
  readonly path: string
  readonly isLink: boolean
}

/** Does something with a search directory; undefined when it is missing. Throws when it cannot be opened. */
export function withPlace<T>(directory: string, work: (place: Place) => T): T | undefined {
  // Most of them are missing on most hosts, which an error would tell, but slowly.
  if (fs.statSync(directory, { throwIfNoEntry: false }) === undefined) return undefined
  const fd = openIfThere(directory)
  if (fd === undefined) return undefined
  try {
    return work({ fd, path: fs.realpathSync.native(directory) })
  } finally {
    closeFd(fd)
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

/** What stands for an entry that may be there; links are followed either way. */
export function entryOf(place: Place, name: string, isLink: boolean): Entry {
  return { name, bytes: nameOf(name), path: pathOf(place.path, name), isLink }
}

/** The entries that may be images, by their names alone, of those that readAllEntries() gave. */
export function entriesIn(place: Place, raw: Buffer): Entry[] {
  const entries: Entry[] = []
  forEachOf(raw, (bytes, type) => {
    const name = bytes.toString('utf8', 0, bytes.indexOf(0))
    // Unfinished downloads.
    if (name.startsWith('.sysupdate.') || !isValidImageName(name)) return
    entries.push(entryOf(place, name, type === DT_LNK || type === DT_UNKNOWN))
  })
  return entries
}

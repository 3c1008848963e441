import { constants as os } from 'node:os'
import { isSystemError, systemError } from '../base/errors.ts'
import { parse } from './env-file.ts'
import { readFileInside } from './inside-file.ts'
import type { Place } from './namespace-jobs.ts'
import { lookFor, type Sight } from './sight.ts'

/** More than any distribution's by a factor of hundreds. */
export const OS_RELEASE_LIMIT = 1024 * 1024

/** Where os-release(5) is, below a root directory; the first that exists counts. */
const OS_RELEASE_FILES = ['etc/os-release', 'usr/lib/os-release'] as const

/** What an os-release(5) says. */
export interface OSRelease {
  /** The assignments, in the order of the file. */
  readonly fields: readonly (readonly [string, string])[]
  /** What it can be known by again; undefined where it cannot. */
  readonly sight: Sight | undefined
}

/** What a machine's os-release(5) says, with a sight of it if it is to be kept. It is parsed here as it may be big and odd. */
export function readOSRelease(place: Place, { keep }: { keep: boolean }): OSRelease {
  const { rootFd } = place
  // Seen before it is read, lest a change in between is missed.
  const sight = keep ? lookFor(rootFd, OS_RELEASE_FILES) : undefined
  for (const { fd } of sight?.seen ?? []) place.give(fd)
  const text = firstOf((path) => readFileInside(rootFd, path, OS_RELEASE_LIMIT))
  return { fields: parseOSRelease(text), sight }
}

/** The assignments of an os-release(5). Throws EBADMSG for what is no text: a zero byte cannot be told to anybody. */
export function parseOSRelease(text: string): [string, string][] {
  if (text.includes('\0')) throw systemError(os.errno.EBADMSG, 'read')
  return [...parse(text, { cEscapes: false })]
}

/** What `read` gives for the first of the files that exists. Throws ENOENT when none does. */
export function firstOf(read: (path: string) => string): string {
  const [first, second] = OS_RELEASE_FILES
  try {
    return read(first)
  } catch (error) {
    if (!isSystemError(error) || error.code !== 'ENOENT') throw error
    return read(second)
  }
}

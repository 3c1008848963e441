import { constants as os } from 'node:os'
import { isSystemError, systemError } from '../base/errors.ts'
import { parse } from './env-file.ts'
import { readFileInside } from './inside-file.ts'
import type { Place } from './namespace-jobs.ts'

/** More than any distribution's by a factor of hundreds. */
export const OS_RELEASE_LIMIT = 1024 * 1024

/** Where os-release(5) is, below a root directory; the first that exists counts. */
const OS_RELEASE_FILES = ['etc/os-release', 'usr/lib/os-release'] as const

/** The assignments of the machine's os-release(5), in its order. It is parsed here as it may be big and odd. */
export function readOSRelease({ rootFd }: Place): [string, string][] {
  return parseOSRelease(firstOf((path) => readFileInside(rootFd, path, OS_RELEASE_LIMIT)))
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

import { isSystemError } from '../base/errors.ts'
import { parse } from './env-file.ts'
import { readFileInside } from './inside-file.ts'
import type { Place } from './namespace-jobs.ts'

/** More than any distribution's by a factor of hundreds. */
export const OS_RELEASE_LIMIT = 1024 * 1024

/** The assignments of the machine's os-release(5), in its order. It is parsed here as it may be big and odd. */
export function readOSRelease({ rootFd }: Place): [string, string][] {
  return [...parse(readEither(rootFd), { cEscapes: false })]
}

function readEither(rootFd: number): string {
  try {
    return readFileInside(rootFd, 'etc/os-release', OS_RELEASE_LIMIT)
  } catch (error) {
    if (!isSystemError(error) || error.code !== 'ENOENT') throw error
    return readFileInside(rootFd, 'usr/lib/os-release', OS_RELEASE_LIMIT)
  }
}

import { isSystemError } from '../base/errors.ts'
import { type Entry, makeDirectoryAt, unlinkAt } from './file-at.ts'

/** Makes a directory to copy into, closed to others at first. False when there is one already. */
export function makeDirectory(target: Entry): boolean {
  try {
    makeDirectoryAt(target, 0o700)
    return true
  } catch (error) {
    if (isSystemError(error) && error.code === 'EEXIST') return false
    throw error
  }
}

/** Takes away what is in the way. A directory stays in it: throws `obstacle`. */
export function clear(target: Entry, obstacle: Error): void {
  try {
    unlinkAt(target)
  } catch (error) {
    throw isSystemError(error) && error.code === 'EISDIR' ? obstacle : error
  }
}

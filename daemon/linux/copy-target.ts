import { isSystemError } from '../base/errors.ts'
import { isAbsence } from './copy-attributes.ts'
import { type Entry, getAttributeOf, makeDirectoryAt, nameOf, unlinkAt } from './file-at.ts'

/** Closed to others, until it is whole. */
const FIRST_MODE = 0o600
/** Set-ID bits go with a change of owner, and the daemon's umask takes the others. */
const TAKEN_AWAY = 0o7022
const DEFAULT_ACL = nameOf('system.posix_acl_default')
/** Too small for any, as it is enough to know that there is one. */
const value = Buffer.alloc(1)

/** Where a file is copied to. */
export interface Target extends Entry {
  /** Whether what is made there has the mode that it is made with. */
  readonly keepsModes: boolean
}

/** Whether files that are made in a directory have the mode that they are made with, as they do without a default ACL (acl(5)). */
export function keepsModes(directory: number): boolean {
  try {
    getAttributeOf(directory, DEFAULT_ACL, value)
    return false
  } catch (error) {
    return isAbsence(error)
  }
}

/**
 * The mode to make a file with that gets `mode` in the end: the same where that spares a call, and opens it to nobody whom
 * its owner to be would keep out.
 */
export function firstMode({ keepsModes }: Target, mode: number): number {
  const [owner, group, others] = [mode >> 6, mode >> 3, mode]
  const shutsOut = ((group & ~owner) | (others & ~group)) & 0o7
  return keepsModes && (mode & TAKEN_AWAY) === 0 && shutsOut === 0 ? mode : FIRST_MODE
}

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

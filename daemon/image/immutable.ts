import * as fs from 'node:fs'
import { isSystemError } from '../base/errors.ts'
import { changeFileFlags } from '../linux/file-flags.ts'

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = fs.constants

/** Makes a directory immutable, or no longer so; says whether that changed anything. Throws ENOTTY, EOPNOTSUPP where there is no such flag. */
export function setImmutable(path: string, immutable: boolean): boolean {
  const fd = fs.openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
  try {
    return changeFileFlags(fd, { immutable })
  } finally {
    fs.closeSync(fd)
  }
}

/** The same, for where a missing flag is no failure. */
export function trySetImmutable(path: string, immutable: boolean): boolean {
  try {
    return setImmutable(path, immutable)
  } catch (error) {
    if (isSystemError(error) && ['ENOTTY', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'EINVAL'].includes(error.code))
      return false
    throw error
  }
}

/** Does what the immutable flag of a directory would forbid; when that fails, the directory has it again. Says whether there was one. */
export function withoutImmutableFlag(path: string, work: () => void): boolean {
  const hadFlag = trySetImmutable(path, false)
  try {
    work()
    return hadFlag
  } catch (error) {
    if (hadFlag) trySetImmutable(path, true)
    throw error
  }
}

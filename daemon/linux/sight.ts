import { ifPossible, isSystemError } from '../base/errors.ts'
import { closeFd } from './libc.ts'
import { openat2, openat2Cached } from './openat2.ts'
import { FileStatus } from './stat.ts'

const O_PATH = 0x200000
const O_NOFOLLOW = 0x20000

/** What was there below a root directory (O_PATH): names, each with its FileStatus, or none where there was no such name. */
export interface Sight {
  readonly root: number
  readonly seen: readonly (readonly [path: string, status: Uint8Array | undefined])[]
}

/**
 * Looks where a regular file is found: at the first of the names, or at a later one when the earlier are links to it or not
 * there. Gives what was seen as far as that; undefined when the file is somewhere else, or when one more change could look the
 * same, as the last was just now. For threads that may hang.
 */
export function lookFor(root: number, paths: readonly string[]): Sight['seen'] | undefined {
  const now = BigInt(Date.now()) * 1000n
  const seen: [string, Uint8Array | undefined][] = []
  for (const path of paths) {
    const status = tryStatus(root, path, O_NOFOLLOW)
    seen.push([path, status?.raw])
    if (status?.isSettled(now) === false) return undefined
    if (status?.kind !== 'regular') continue
    const isFound = seen.every(([path, raw]) => raw === undefined || tryStatus(root, path, 0)?.equals(status))
    return isFound ? seen : undefined
  }
  return undefined
}

/**
 * Whether all is what it was, as far as the kernel knows without asking a file system. For any thread, where it knows at once
 * (standpoint.ts).
 */
export function isUnchanged({ root, seen }: Sight): boolean {
  const isSame = ([path, before]: Sight['seen'][number]): boolean => {
    const now = tryStatus(root, path, O_NOFOLLOW, openat2Cached)
    return before === undefined || now === undefined ? before === now : now.equals(new FileStatus(before))
  }
  return ifPossible(() => seen.every(isSame)) ?? false
}

/** What a name stands for; undefined when there is no such name. */
function tryStatus(root: number, path: string, flags: number, open = openat2): FileStatus | undefined {
  try {
    return statusOf(root, path, flags, open)
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return undefined
    throw error
  }
}

function statusOf(root: number, path: string, flags: number, open: typeof openat2): FileStatus {
  const fd = open(root, path, O_PATH | flags)
  try {
    const status = new FileStatus()
    status.readOpen(fd)
    return status
  } finally {
    closeFd(fd)
  }
}

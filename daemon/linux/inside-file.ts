import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { systemError } from '../base/errors.ts'
import { readFileBounded } from './file.ts'
import { closeFd } from './libc.ts'
import { openat2 } from './openat2.ts'

const O_PATH = 0x200000

/**
 * The text of a regular file of at most `limit` bytes below the directory `root`, which all links stay in; links of
 * /proc are refused. Nothing but a regular file is ever opened: no FIFO, no device. For namespace jobs: a file system
 * in there may never answer. Throws ELOOP, EISDIR, EINVAL for other kinds of files, EFBIG.
 */
export function readFileInside(root: number, path: string, limit: number): string {
  const fd = openat2(root, path, O_PATH)
  try {
    const stat = fs.fstatSync(fd)
    if (stat.isDirectory()) throw systemError(os.errno.EISDIR, 'read', path)
    if (!stat.isFile()) throw systemError(os.errno.EINVAL, 'read', path)
    // Not a link into the machine: the host's /proc leads to what was looked at.
    return readFileBounded(`/proc/thread-self/fd/${String(fd)}`, limit)
  } finally {
    closeFd(fd)
  }
}

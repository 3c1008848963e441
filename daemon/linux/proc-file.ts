import { constants as os } from 'node:os'
import { systemError } from '../base/errors.ts'
import { read } from './file-at.ts'
import { checked, closeFd, declare } from './libc.ts'

const open = declare<(path: string, flags: number) => number>('open', 'int', ['str', 'int'])
const readlink = declare<(path: string, into: Buffer, size: number) => number>('readlink', 'long', [
  'str',
  'void *',
  'size_t'
])

const O_RDONLY_CLOEXEC = 0x80000
const FIRST_SIZE = 64 * 1024
/** PATH_MAX, which no link below /proc is longer than. */
const link = Buffer.alloc(4096)

/** What is read last goes here; of most files all is, and few are ever bigger. */
let scratch: Buffer | undefined

/**
 * The text of a file that the kernel makes up, as those below /proc: these never make one wait, and are read several times
 * as fast as by way of Node. Throws SystemError, EFBIG for one of more than `limit` bytes.
 */
export function readProcFile(path: string, limit: number): string {
  const fd = checked(open(path, O_RDONLY_CLOEXEC), 'open', path)
  try {
    return readOpenProcFile(fd, limit)
  } finally {
    closeFd(fd)
  }
}

/** The same of one that is open, from where it was read to. */
export function readOpenProcFile(fd: number, limit: number): string {
  let buffer = (scratch ??= Buffer.allocUnsafeSlow(FIRST_SIZE))
  for (let length = 0; ;) {
    const more = checked(read(fd, buffer.subarray(length), buffer.length - length), 'read')
    length += more
    if (length > limit) throw systemError(os.errno.EFBIG, 'read')
    if (more === 0) return buffer.toString('utf8', 0, length)
    if (length === buffer.length) buffer = Buffer.concat([buffer], 2 * length)
  }
}

/** Where a link below /proc leads, as the kernel says; its bytes are taken for characters. Throws SystemError. */
export function readProcLink(path: string): string {
  return link.toString('latin1', 0, checked(readlink(path, link, link.length), 'readlink', path))
}

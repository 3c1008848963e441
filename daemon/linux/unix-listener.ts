import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { dirname } from 'node:path'
import { isSystemError, systemError } from '../base/errors.ts'
import { checked, closeFd, declare, dupFd, getSocketOption, unixSocket, unlessAgain } from './libc.ts'
import { socketAddress } from './unix-socket.ts'

const c = {
  bind: declare<(fd: number, address: Buffer, length: number) => number>('bind', 'int', ['int', 'void *', 'uint32_t']),
  listen: declare<(fd: number, backlog: number) => number>('listen', 'int', ['int', 'int']),
  setsockopt: declare<(fd: number, level: number, name: number, value: Buffer, length: number) => number>(
    'setsockopt',
    'int',
    ['int', 'int', 'int', 'void *', 'uint32_t']
  ),
  accept4: declare<(fd: number, address: null, length: null, flags: number) => number>('accept4', 'int', [
    'int',
    'void *',
    'void *',
    'int'
  ]),
  setxattr: declare<(path: string, name: string, value: Buffer, size: number, flags: number) => number>(
    'setxattr',
    'int',
    ['str', 'str', 'void *', 'size_t', 'int']
  )
}

const BACKLOG = 4096
const SOCK_NONBLOCK_CLOEXEC = 0x80800
const SOL_SOCKET = 1
const SO_PEERPIDFD = 77
const SO_PASSRIGHTS = 83
const FIRST_PASSED = 3

/**
 * A listening stream socket at a path, for the caller to close; a socket that is there already makes way, and the
 * directory is made when missing. Throws SystemError.
 */
export function listenUnix(path: string, mode: number): number {
  fs.mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
  const fd = unixSocket('stream')
  try {
    const address = socketAddress(path)
    if (fs.lstatSync(path, { throwIfNoEntry: false })?.isFile() !== true) fs.rmSync(path, { force: true })
    checked(c.bind(fd, address, address.length), 'bind', path)
    fs.chmodSync(path, mode)
    checked(c.listen(fd, BACKLOG), 'listen', path)
    return fd
  } catch (error) {
    closeFd(fd)
    throw error
  }
}

/** Has the kernel (since 6.16) refuse descriptors that clients send; before that they arrive, for us to close. */
export function refuseDescriptors(fd: number): void {
  c.setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, Buffer.alloc(4), 4)
}

/** The next connection to a listening socket, non-blocking and close-on-exec; undefined when there is none. Throws SystemError. */
export function acceptUnix(fd: number): number | undefined {
  try {
    return unlessAgain(c.accept4(fd, null, null, SOCK_NONBLOCK_CLOEXEC), 'accept4')
  } catch (error) {
    // That one is gone already.
    if (isSystemError(error) && error.code === 'ECONNABORTED') return undefined
    throw error
  }
}

/**
 * A pidfd of the process that connected a socket, for the caller to close; undefined where the kernel (before 6.5) has
 * none. Throws ESRCH when the process is gone.
 */
export function peerPidfd(fd: number): number | undefined {
  const value = Buffer.alloc(4)
  try {
    getSocketOption(fd, SO_PEERPIDFD, value)
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOPROTOOPT') return undefined
    if (isSystemError(error) && error.code === 'EINVAL') throw systemError(os.errno.ESRCH, 'getsockopt')
    throw error
  }
  return value.readInt32LE()
}

/**
 * The listening sockets of one name that the service manager has passed (sd_listen_fds_with_names(3)), close-on-exec and
 * the caller's.
 */
export function passedSockets(name: string): number[] {
  const { LISTEN_PID: pid, LISTEN_FDS: count = '0', LISTEN_FDNAMES: names = '' } = process.env
  if (pid !== String(process.pid)) return []
  const fds = Array.from({ length: Number(count) }, (_, index) => FIRST_PASSED + index)
  const named = fds.filter((_, index) => names.split(':')[index] === name)
  return named.map((fd) => {
    const own = dupFd(fd)
    closeFd(fd)
    return own
  })
}

/** setxattr(2). Throws SystemError, EOPNOTSUPP or EPERM where the file cannot have such an attribute. */
export function setAttribute(path: string, name: string, value: string): void {
  const bytes = Buffer.from(value)
  checked(c.setxattr(path, name, bytes, bytes.length, 0), 'setxattr', path)
}

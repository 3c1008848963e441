import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { isSystemError, systemError } from '../base/errors.ts'
import { closeFd, ioctl } from './libc.ts'

const TIOCGPTN = 0x80045430
const TIOCSPTLCK = 0x40045431
const TIOCGPTPEER = 0x5441
const FLAGS = fs.constants.O_RDWR | fs.constants.O_NOCTTY
/** The device number of every pseudo-terminal multiplexer, on devpts or beside one: major 5, minor 2. */
const PTMX_DEVICE = 0x502n
const PEER_ATTEMPTS = 20
const PEER_PAUSE_MS = 50

/** The master side of a pseudo-terminal that is ready for use; see pty(7). */
export interface Pty {
  readonly fd: number
  /** The N of its `/dev/pts/N`. */
  readonly number: number
}

/** Throws ENODEV unless the descriptor, which may be O_PATH, is a pseudo-terminal multiplexer. */
export function requireMultiplexer(fd: number): void {
  const stat = fs.fstatSync(fd, { bigint: true })
  if (!stat.isCharacterDevice() || stat.rdev !== PTMX_DEVICE) throw systemError(os.errno.ENODEV, 'open', 'ptmx')
}

/** Makes a new pseudo-terminal by opening a multiplexer, which `path` must lead to. Its peer belongs to the thread's user. */
export function openPty(path: string): Pty {
  const fd = fs.openSync(path, FLAGS)
  try {
    const value = Buffer.alloc(4)
    ioctl(fd, TIOCSPTLCK, value)
    ioctl(fd, TIOCGPTN, value)
    return { fd, number: value.readUInt32LE() }
  } catch (error) {
    closeFd(fd)
    throw error
  }
}

/**
 * Opens the other side of a pseudo-terminal by its master, whatever is at its path by now. Waits up to a second for one
 * that is being hung up, so it is not for the main thread. Throws EIO.
 */
export function openPeer(fd: number): number {
  for (let attempt = 1; ; attempt++) {
    try {
      return ioctl(fd, TIOCGPTPEER, FLAGS | 0x80000)
    } catch (error) {
      if (!isSystemError(error) || error.code !== 'EIO' || attempt === PEER_ATTEMPTS) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PEER_PAUSE_MS)
    }
  }
}

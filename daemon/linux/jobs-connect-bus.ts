import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { isSystemError, systemError } from '../base/errors.ts'
import { closeFd } from './libc.ts'
import type { Place } from './namespace-jobs.ts'
import { openat2 } from './openat2.ts'
import type { Identity } from './thread-identity.ts'
import { connectUnix } from './unix-socket.ts'

const O_PATH = 0x200000
/** Where the system bus listens; older systems have a /var/run that is no link. */
const SOCKETS = ['run/dbus/system_bus_socket', 'var/run/dbus/system_bus_socket'] as const

/**
 * Connects to the machine's system bus as `user`, which that bus sees as the peer. Non-blocking. Throws ENOENT where there
 * is none, ECONNREFUSED where nobody listens or it is no socket, EAGAIN while too many others wait.
 */
export function connectBus(place: Place, { user }: { user: Identity }): number {
  const socket = openSocket(place.rootFd)
  try {
    if (!fs.fstatSync(socket).isSocket()) throw systemError(os.errno.ECONNREFUSED, 'connect')
    // Not a link into the machine: the host's /proc leads to what was looked at.
    return place.give(place.as(user, () => connectUnix(`/proc/thread-self/fd/${String(socket)}`)))
  } finally {
    closeFd(socket)
  }
}

function openSocket(root: number): number {
  const [path, olderPath] = SOCKETS
  try {
    return openat2(root, path, O_PATH)
  } catch (error) {
    if (!isSystemError(error) || error.code !== 'ENOENT') throw error
    return openat2(root, olderPath, O_PATH)
  }
}

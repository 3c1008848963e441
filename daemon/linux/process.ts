import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { isSystemError, systemError } from '../base/errors.ts'
import { closeFd, dupFd, ioctl, pidfdOpen, pidfdSendSignal } from './libc.ts'
import { readProcFile } from './proc-file.ts'
import { pollReadable } from './readiness.ts'
import { FileStatus } from './stat.ts'

export { cgroupPath } from './cgroup.ts'

const PID_MAX = 0x7fffffff
const PIDFS_MAGIC = 0x50494446
const NS_GET_USERNS = 0xb701
const NS_GET_OWNER_UID = 0xb704
const PROC_LIMIT = 64 * 1024
/** The kernel nests user namespaces at most 32 deep; the stock daemon gives up after 17 (spec/dbus.md 3.5.4). */
const MAX_LEVELS = 17

/** A process that cannot be mistaken for a later one with the same number: a PID and, where the kernel has them, a pidfd. See pidfd_open(2). */
export class PidRef {
  readonly pid: number
  /** Inode number of the pidfd, unique for the boot; 0n when the kernel (before 6.9) has none. */
  readonly pidfdId: bigint
  #pidfd: number | undefined

  private constructor(pid: number, pidfd: number | undefined, pidfdId?: bigint) {
    this.pid = pid
    this.#pidfd = pidfd
    this.pidfdId = pidfdId ?? (pidfd === undefined ? 0n : inodeOfPidfd(pidfd))
  }

  /** Takes hold of the process `pid`. Throws ESRCH if there is none. */
  static pin(pid: number): PidRef {
    if (!Number.isInteger(pid) || pid <= 0 || pid > PID_MAX) throw systemError(os.errno.ESRCH, 'pidfd_open')
    let pidfd: number | undefined
    try {
      pidfd = pidfdOpen(pid)
    } catch (error) {
      // No pidfds at all, or none left: a plain PID is better than nothing.
      if (!isSystemError(error) || !['ENOSYS', 'EMFILE', 'ENFILE'].includes(error.code)) throw error
      if (readStat(pid) === undefined) throw systemError(os.errno.ESRCH, 'pidfd_open')
    }
    return new PidRef(pid, pidfd)
  }

  /** Takes hold of the process behind `fd`, which stays the caller's. Throws EBADF for another kind of descriptor, ESRCH for a reaped process. */
  static fromPidfd(fd: number): PidRef {
    const pid = pidOfPidfd(fd)
    if (pid === undefined) throw systemError(os.errno.EBADF, 'pidfd')
    // 0 is a process outside our PID namespace, -1 one that is gone.
    if (pid <= 0) throw systemError(os.errno.ESRCH, 'pidfd')
    return new PidRef(pid, dupFd(fd))
  }

  /** The pidfd; undefined without kernel support and after `close`. Stays ours. */
  get pidfd(): number | undefined {
    return this.#pidfd
  }

  /** Whether the process runs. A zombie does not. */
  isAlive(): boolean {
    if (this.#pidfd !== undefined) return !pollReadable(this.#pidfd)
    const stat = readStat(this.pid)
    return stat !== undefined && stat.state !== 'Z' && stat.state !== 'X'
  }

  /** Whether the PID still means this process. To be asked after reading from /proc/PID, to trust what was read. */
  verify(): boolean {
    if (this.#pidfd === undefined) return readStat(this.pid) !== undefined
    return pidOfPidfd(this.#pidfd) === this.pid
  }

  /** Sends a signal. Throws ESRCH when the process is gone, EPERM, EINVAL. */
  kill(signal: number): void {
    if (this.#pidfd !== undefined) pidfdSendSignal(this.#pidfd, signal)
    else process.kill(this.pid, signal)
  }

  /** Whether both mean the same process, as far as can be told. */
  equals(other: PidRef): boolean {
    if (this.pid !== other.pid) return false
    return this.pidfdId === 0n || other.pidfdId === 0n || this.pidfdId === other.pidfdId
  }

  /** A second hold on the same process, to be let go by itself. */
  clone(): PidRef {
    return new PidRef(this.pid, this.#pidfd === undefined ? undefined : reopen(this.pid, this.#pidfd), this.pidfdId)
  }

  /** Lets go of the process. May be called twice. */
  close(): void {
    const pidfd = this.#pidfd
    this.#pidfd = undefined
    if (pidfd !== undefined) closeFd(pidfd)
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/**
 * A second pidfd of a process. Not the same open file where that can be had: epoll(7) takes one no more than 500 times, and
 * one that watches exits (exit-watch.ts) may get the pidfds of more machines than that from one caller.
 */
function reopen(pid: number, pidfd: number): number {
  try {
    const again = pidfdOpen(pid)
    try {
      // As long as there is such a process, the number means no other.
      pidfdSendSignal(pidfd, 0)
      return again
    } catch (error) {
      closeFd(again)
      throw error
    }
  } catch (error) {
    if (!isSystemError(error)) throw error
    return dupFd(pidfd)
  }
}

/** The parent of a process; undefined when it has none that we can see or the process is gone. */
export function parentPid(pid: number): number | undefined {
  const parent = readStat(pid)?.parent
  return parent === undefined || parent <= 0 ? undefined : parent
}

/** The real UID of a process. Throws ESRCH when it is gone. */
export function realUid(ref: PidRef): number {
  const match = /^Uid:\s*(\d+)/m.exec(readProc(`/proc/${String(ref.pid)}/status`))
  if (match === null) throw systemError(os.errno.EBADMSG, 'read', `/proc/${String(ref.pid)}/status`)
  if (!ref.verify()) throw systemError(os.errno.ESRCH, 'pidfd')
  return Number(match[1])
}

/**
 * Whether the process belongs to the user: it runs as the user, or in a user namespace the user made, directly or
 * further up (spec/dbus.md 3.5.4). Throws ESRCH when it is gone, ELOOP when the namespaces nest too deeply.
 */
export function ownsProcess(ref: PidRef, uid: number): boolean {
  if (realUid(ref) === uid) return true
  const path = `/proc/${String(ref.pid)}/ns/user`
  // Without user namespaces in the kernel there is no further way to own a process.
  if (!fs.existsSync('/proc/self/ns/user')) return false
  const own = fs.statSync('/proc/self/ns/user', { bigint: true })
  let fd = openProc(path)
  try {
    if (!ref.verify()) throw systemError(os.errno.ESRCH, 'pidfd')
    for (let level = 0; level < MAX_LEVELS; level++) {
      const stat = fs.fstatSync(fd, { bigint: true })
      if (stat.dev === own.dev && stat.ino === own.ino) return false
      const owner = Buffer.alloc(4)
      ioctl(fd, NS_GET_OWNER_UID, owner)
      if ((endianLittle ? owner.readUInt32LE() : owner.readUInt32BE()) === uid) return true
      let parent: number
      try {
        parent = ioctl(fd, NS_GET_USERNS)
      } catch (error) {
        // The parent is outside what we may see.
        if (isSystemError(error) && error.code === 'EPERM') return false
        throw error
      }
      closeFd(fd)
      fd = parent
    }
  } finally {
    closeFd(fd)
  }
  throw systemError(os.errno.ELOOP, 'ioctl', path)
}

const endianLittle = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1

let hasPidfs: boolean | undefined

const status = new FileStatus()

function inodeOfPidfd(fd: number): bigint {
  // Older kernels give all pidfds one inode number of the anonymous inode file system.
  hasPidfs ??= fs.statfsSync(`/proc/self/fd/${String(fd)}`).type === PIDFS_MAGIC
  if (!hasPidfs) return 0n
  status.readOpen(fd)
  return status.inode
}

/** undefined when `fd` is no pidfd; -1 for a reaped process. */
function pidOfPidfd(fd: number): number | undefined {
  let text: string
  try {
    text = readProcFile(`/proc/self/fdinfo/${String(fd)}`, PROC_LIMIT)
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return undefined
    throw error
  }
  const match = /^Pid:\s*(-?\d+)$/m.exec(text)
  return match === null ? undefined : Number(match[1])
}

function readStat(pid: number): { state: string; parent: number } | undefined {
  let text: string
  try {
    text = readProc(`/proc/${String(pid)}/stat`)
  } catch {
    return undefined
  }
  // The name in parentheses is the process's own choice and may hold parentheses and blanks.
  const match = /^ (\S) (-?\d+) /.exec(text.slice(text.lastIndexOf(')') + 1))
  return match === null ? undefined : { state: match[1] ?? '', parent: Number(match[2]) }
}

function readProc(path: string): string {
  return gone(path, () => readProcFile(path, PROC_LIMIT))
}

function openProc(path: string): number {
  return gone(path, () => fs.openSync(path, 'r'))
}

/** A file missing below /proc/PID means that the process is. */
function gone<T>(path: string, action: () => T): T {
  try {
    return action()
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') throw systemError(os.errno.ESRCH, 'open', path)
    throw error
  }
}

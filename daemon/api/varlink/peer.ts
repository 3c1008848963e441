import { constants as os } from 'node:os'
import { systemError } from '../../base/errors.ts'
import type { PolkitSubject } from '../../bus/polkit.ts'
import { closeFd } from '../../linux/libc.ts'
import { PidRef } from '../../linux/process.ts'
import { peerPidfd } from '../../linux/unix-listener.ts'
import { peerCredentials } from '../../linux/unix-socket.ts'

/** The process behind a connection, as the kernel saw it when it connected. */
export class Peer {
  readonly uid: number
  readonly #fd: number
  readonly #pid: number
  #process: PidRef | undefined

  /** The socket stays the connection's. Throws SystemError. */
  constructor(fd: number) {
    const { pid, uid } = peerCredentials(fd)
    this.uid = uid
    this.#fd = fd
    this.#pid = pid
  }

  /** Pins the process; whoever asked closes it. Throws ESRCH when it is gone or outside our PID namespace. */
  pin(): PidRef {
    return this.#pinned().clone()
  }

  /** Throws EPERM on kernels without pidfds of peers: a PID alone may be somebody else by now. */
  subject(): PolkitSubject {
    const { pidfd } = this.#pinned()
    if (pidfd === undefined || !this.#isCertain) throw systemError(os.errno.EPERM, 'getsockopt')
    return { pidfd, uid: this.uid }
  }

  #isCertain = false

  #pinned(): PidRef {
    this.#process ??= this.#pinNow()
    return this.#process
  }

  #pinNow(): PidRef {
    const pidfd = peerPidfd(this.#fd)
    if (pidfd === undefined) return PidRef.pin(this.#pid)
    this.#isCertain = true
    try {
      return PidRef.fromPidfd(pidfd)
    } finally {
      closeFd(pidfd)
    }
  }

  /** Lets go of the process. */
  close(): void {
    this.#process?.close()
    this.#process = undefined
  }
}

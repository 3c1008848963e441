import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { isSystemError, systemError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { closeFd, exitAtOnce, setns } from './libc.ts'
import { readProcLink } from './proc-file.ts'
import type { PidRef } from './process.ts'

const CLONE_NEWNET = 0x40000000

/** The kinds of namespaces(7) that are looked at here. */
export type NamespaceKind = 'net' | 'mnt' | 'user'

/**
 * The network namespace of the calling thread, with the way into those of others and back (network_namespaces(7)).
 * Holds one descriptor, so that the way back depends on nothing that could have changed meanwhile.
 */
export class NetworkNamespace {
  readonly #own: number
  /** As namespaceName() gives it. */
  readonly name: string

  constructor() {
    this.#own = fs.openSync('/proc/thread-self/ns/net', 'r')
    this.name = nameOfOpen(this.#own)
  }

  /**
   * Runs `work` in the network namespace of a process, telling its name; undefined, and not run, when that is our own.
   * Nothing else of this daemon runs meanwhile: `work` must be synchronous, wait for nothing and start no thread. It is
   * for creating a socket, which belongs to the namespace for good. Ends the process when there is no way back, lest it
   * serve everybody from inside a machine. Throws ESRCH when the process is gone.
   */
  inside<T>(process: PidRef, work: (name: string) => T): T | undefined {
    const fd = openNamespace(process, 'net')
    try {
      const name = nameOfOpen(fd)
      if (name === this.name) return undefined
      setns(fd, CLONE_NEWNET)
      try {
        return work(name)
      } finally {
        this.#comeBack()
      }
    } finally {
      closeFd(fd)
    }
  }

  /** Lets go of the descriptor. */
  close(): void {
    closeFd(this.#own)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #comeBack(): void {
    try {
      setns(this.#own, CLONE_NEWNET)
    } catch (error) {
      log.fatal({ err: error }, 'Cannot return to the own network namespace, exiting')
      exitAtOnce(1)
    }
  }
}

/** A namespace of a process, as a descriptor to be closed by the caller. Throws ESRCH when the process is gone. */
export function openNamespace(process: PidRef, kind: NamespaceKind): number {
  const path = pathOf(process, kind)
  const fd = unlessGone(() => fs.openSync(path, 'r'))
  // While the process lives no other can have its PID, and then this was its namespace.
  if (process.isAlive()) return fd
  closeFd(fd)
  throw systemError(os.errno.ESRCH, 'open', path)
}

/** The same, but undefined for the namespace that the daemon is in itself. */
export function openForeignNamespace(process: PidRef, kind: NamespaceKind): number | undefined {
  const fd = openNamespace(process, kind)
  if (nameOfOpen(fd) !== readProcLink(`/proc/self/ns/${kind}`)) return fd
  closeFd(fd)
  return undefined
}

/** The name of a namespace of a process, such as `net:[4026531840]`; no two have the same. Throws ESRCH as openNamespace(). */
export function namespaceName(process: PidRef, kind: NamespaceKind): string {
  const path = pathOf(process, kind)
  const name = unlessGone(() => readProcLink(path))
  if (process.isAlive()) return name
  throw systemError(os.errno.ESRCH, 'readlink', path)
}

function pathOf(process: PidRef, kind: NamespaceKind): string {
  return `/proc/${String(process.pid)}/ns/${kind}`
}

function nameOfOpen(fd: number): string {
  return readProcLink(`/proc/self/fd/${String(fd)}`)
}

/** What `look` finds of a process. Throws ESRCH when it is gone. */
function unlessGone<T>(look: () => T): T {
  try {
    return look()
  } catch (error) {
    if (!isSystemError(error) || error.code !== 'ENOENT') throw error
    throw systemError(os.errno.ESRCH, error.syscall)
  }
}

import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { isSystemError, systemError } from '../base/errors.ts'
import type { PidRef } from './process.ts'

/** PID 1 never leaves its user namespace. */
let ownId: bigint | undefined

/**
 * Whether a process has the user namespace of PID 1, whose root is root of the host; so it is where the kernel has no user
 * namespaces. Throws ESRCH when the process is gone.
 */
export function sharesUserNamespace(ref: PidRef): boolean {
  const own = (ownId ??= namespaceId(1))
  if (own === undefined) return true
  const id = namespaceId(ref.pid)
  // While the process lives no other can have its PID, and then this was its namespace.
  if (id === undefined || !ref.verify()) throw systemError(os.errno.ESRCH, 'stat')
  return id === own
}

/** All namespaces are files of one file system, which gives them different inode numbers. */
function namespaceId(pid: number): bigint | undefined {
  try {
    return fs.statSync(`/proc/${String(pid)}/ns/user`, { bigint: true }).ino
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return undefined
    throw error
  }
}

import { constants as os } from 'node:os'
import { isSystemError, systemError } from '../base/errors.ts'
import { readProcLink } from './proc-file.ts'
import type { PidRef } from './process.ts'

/** PID 1 never leaves its user namespace. */
let ownName: string | undefined

/**
 * Whether a process has the user namespace of PID 1, whose root is root of the host; so it is where the kernel has no user
 * namespaces. Throws ESRCH when the process is gone.
 */
export function sharesUserNamespace(ref: PidRef): boolean {
  const own = (ownName ??= nameOfNamespace(1))
  if (own === undefined) return true
  const name = nameOfNamespace(ref.pid)
  // While the process lives no other can have its PID, and then this was its namespace.
  if (name === undefined || !ref.verify()) throw systemError(os.errno.ESRCH, 'readlink')
  return name === own
}

function nameOfNamespace(pid: number): string | undefined {
  try {
    return readProcLink(`/proc/${String(pid)}/ns/user`)
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return undefined
    throw error
  }
}

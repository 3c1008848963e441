import { constants as os } from 'node:os'
import { systemError } from '../base/errors.ts'
import { declare } from './libc.ts'

/** Whom new files belong to, as the host numbers users and groups. */
export interface FileOwner {
  readonly uid: number
  readonly gid: number
}

// Unlike those for other IDs, these functions of the C library change the calling thread alone.
const setfsuid = declare<(uid: number) => number>('setfsuid', 'int', ['uint'])
const setfsgid = declare<(gid: number) => number>('setfsgid', 'int', ['uint'])
const none = 0xffffffff

/**
 * Does something to files as if a process of this user did it, with neither more rights nor root's capabilities: on a mount
 * whose users are mapped only those that it maps can make files. For the threads that work in machines. Throws EPERM.
 */
export function asFileOwner<T>({ uid, gid }: FileOwner, work: () => T): T {
  try {
    setfsgid(gid)
    setfsuid(uid)
    // They do not say whether it worked; with no user they say who it is.
    if (setfsuid(none) >>> 0 !== uid || setfsgid(none) >>> 0 !== gid) throw systemError(os.errno.EPERM, 'setfsuid')
    return work()
  } finally {
    setfsuid(0)
    setfsgid(0)
  }
}

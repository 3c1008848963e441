import { checked, declare } from './libc.ts'

/** A user and a group, as the host numbers them. */
export interface Identity {
  readonly uid: number
  readonly gid: number
}

type Set = (number: number, real: number, effective: number, saved: number) => number
const setIds = declare<Set>('syscall', 'long', ['long', 'long', 'long', 'long'])

// The C library's functions of these names change all threads at once.
const [sysSetresuid, sysSetresgid] = process.arch === 'x64' ? [117, 119] : [147, 149]
const unchanged = -1

/**
 * Makes the calling thread act as a user and group: setresgid(2) and setresuid(2) of the effective IDs alone, so that
 * root can come back. Also takes all capabilities from it or gives them back. Throws EPERM.
 */
export function becomeEffectively({ uid, gid }: Identity): void {
  // Root's capabilities are needed for the group, so the user goes last, and comes back first.
  if (uid === 0) checked(setIds(sysSetresuid, unchanged, 0, unchanged), 'setresuid')
  checked(setIds(sysSetresgid, unchanged, gid, unchanged), 'setresgid')
  if (uid !== 0) checked(setIds(sysSetresuid, unchanged, uid, unchanged), 'setresuid')
}

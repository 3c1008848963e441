import { constants as os } from 'node:os'
import { isSystemError, systemError } from '../base/errors.ts'
import { readProcFile } from './proc-file.ts'
import type { PidRef } from './process.ts'
import type { Identity } from './thread-identity.ts'

/** One line of a user namespace's ID map: `count` IDs from `inside` are those from `outside` on the host. See user_namespaces(7). */
export interface IdRange {
  readonly inside: number
  readonly outside: number
  readonly count: number
}

/** The kernel takes 340 lines of at most 33 characters. */
const LIMIT = 64 * 1024
/** A container has at least the IDs up to nobody. */
const MIN_COUNT = 65534

/** Whether the number can be a user or group: 32 bits, and neither of the two that mean "none". */
export function isValidId(id: number): boolean {
  return Number.isInteger(id) && id >= 0 && id < 0xffffffff && id !== 0xffff
}

/** Reads the ID map of a process's user namespace; given a PidRef, makes sure that it was that process's (else ESRCH). Throws EBADMSG for a malformed line, ENOENT when the process is gone or the kernel has no user namespaces. */
export function readIdMap(process: number | PidRef, kind: 'uid' | 'gid'): IdRange[] {
  const pid = typeof process === 'number' ? process : process.pid
  const ranges = parseIdMap(readProcFile(`/proc/${String(pid)}/${kind}_map`, LIMIT))
  if (typeof process !== 'number' && !process.verify()) throw systemError(os.errno.ESRCH, 'pidfd')
  return ranges
}

/** Parses the text of an ID map. Throws EBADMSG for anything that the kernel would not write, counts of 0 included. */
export function parseIdMap(text: string): IdRange[] {
  const lines = text.split('\n')
  if (lines.at(-1) === '') lines.pop()
  return lines.map((line) => {
    const match = /^\s*(\d{1,10})\s+(\d{1,10})\s+(\d{1,10})\s*$/.exec(line)
    const [inside = NaN, outside = NaN, count = NaN] = match?.slice(1).map(Number) ?? []
    if (!(inside <= 0xffffffff && outside <= 0xffffffff && count <= 0xffffffff && count > 0))
      throw systemError(os.errno.EBADMSG, 'read')
    return { inside, outside, count }
  })
}

/**
 * How far the IDs of a container are shifted (spec/dbus.md 7.4). Throws ENXIO for a map that is no plain shift, ENOMSG
 * for an empty one, EBADMSG, ESRCH.
 */
export function uidShift(ref: PidRef): number {
  let uids: IdRange[]
  try {
    uids = readIdMap(ref, 'uid')
  } catch (error) {
    // A kernel without user namespaces shifts nothing. The stock daemon takes a vanished leader for that, too.
    if (isSystemError(error) && error.code === 'ENOENT') return 0
    throw error
  }
  return shiftOf(uids, () => readIdMap(ref, 'gid'))
}

/** The rule of `uidShift` over maps already read; the group map is asked for only when the user map is a plain shift. */
export function shiftOf(uids: readonly IdRange[], readGids: () => readonly IdRange[]): number {
  const uid = uids[0]
  if (uid === undefined) throw systemError(os.errno.ENOMSG, 'read')
  if (uids.length > 1 || uid.inside !== 0 || uid.count < MIN_COUNT) throw systemError(os.errno.ENXIO, 'read')
  const gids = readGids()
  const gid = gids[0]
  if (gid === undefined) throw systemError(os.errno.ENOMSG, 'read')
  if (gids.length > 1 || gid.inside !== uid.inside || gid.outside !== uid.outside || gid.count !== uid.count) {
    throw systemError(os.errno.ENXIO, 'read')
  }
  return uid.outside
}

/**
 * Who root of a process's user namespace is on the host; the host's own root where that namespace has none, or the kernel
 * has no namespaces. Throws ESRCH, EBADMSG.
 */
export function rootOf(ref: PidRef): Identity {
  return { uid: idOfRoot(ref, 'uid'), gid: idOfRoot(ref, 'gid') }
}

function idOfRoot(ref: PidRef, kind: 'uid' | 'gid'): number {
  try {
    return mapToHost(readIdMap(ref, kind), 0) ?? 0
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT' && ref.verify()) return 0
    throw error
  }
}

/** The host's ID for one inside; undefined when the map has none (spec/dbus.md 9.1). Throws EINVAL when the result is no valid ID. */
export function mapToHost(ranges: readonly IdRange[], id: number): number | undefined {
  const range = ranges.find(({ inside, count }) => inside <= id && id < inside + count)
  return range && checked(id - range.inside + range.outside)
}

/** The ID inside for one of the host; undefined when the map has none (spec/dbus.md 9.2). Ranges that start at the host's root are no container's own. Throws EINVAL when the result is no valid ID. */
export function mapFromHost(ranges: readonly IdRange[], id: number): number | undefined {
  const range = ranges.find(({ outside, count }) => outside !== 0 && outside <= id && id < outside + count)
  return range && checked(id - range.outside + range.inside)
}

function checked(sum: number): number {
  const id = sum >>> 0
  if (!isValidId(id)) throw systemError(os.errno.EINVAL, 'map')
  return id
}

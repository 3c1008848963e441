import { constants as os } from 'node:os'
import { isSystemError, systemError } from '../base/errors.ts'
import type { Entry } from './file-at.ts'
import { ioctl } from './libc.ts'

/*
 * Subvolumes of btrfs, by its ioctls (linux/btrfs.h). All throw ENOTTY on other file systems, and EPERM without
 * CAP_SYS_ADMIN, where the kernel wants it.
 */

const NUMBER = 0x94
const FIRST_INODE = 256n
const ARGUMENTS_SIZE = 4096
const ROOT_READ_ONLY = 1n
const SUBVOLUME_READ_ONLY = 2n

type Direction = 'none' | 'write' | 'read' | 'both'
const directions = { none: 0, write: 1, read: 2, both: 3 }

/** The request number of a btrfs ioctl; `direction` is the caller's, as in the kernel's _IOW and _IOR. */
export function btrfsRequest(direction: Direction, number: number, size: number): number {
  return directions[direction] * 0x40000000 + size * 0x10000 + NUMBER * 0x100 + number
}

const DEFRAGMENT = btrfsRequest('write', 2, ARGUMENTS_SIZE)
const CREATE = btrfsRequest('write', 14, ARGUMENTS_SIZE)
const DESTROY = btrfsRequest('write', 15, ARGUMENTS_SIZE)
const SNAPSHOT = btrfsRequest('write', 23, ARGUMENTS_SIZE)
const GET_FLAGS = btrfsRequest('read', 25, 8)
const SET_FLAGS = btrfsRequest('write', 26, 8)
const GET_INFO = btrfsRequest('read', 60, 504)

/** What btrfs knows about a subvolume. */
export interface SubvolumeInfo {
  readonly id: bigint
  /** The subvolume that this one is in; 0 for the top of the file system. */
  readonly parent: bigint
  readonly readOnly: boolean
  /** When it was made, in microseconds since the epoch. */
  readonly created: bigint
  /** When anything in it changed, in microseconds since the epoch. */
  readonly changed: bigint
}

/** Whether an inode of this number may be the top of a subvolume; any file system can have one of that number. */
export function mayBeSubvolume(inode: bigint): boolean {
  return inode === FIRST_INODE
}

/** Whether an open directory lies on btrfs. */
export function isOnBtrfs(fd: number): boolean {
  try {
    ioctl(fd, GET_FLAGS, Buffer.alloc(8))
    return true
  } catch (error) {
    // EINVAL: on btrfs, though not the top of a subvolume.
    if (isSystemError(error)) return error.code === 'EINVAL'
    throw error
  }
}

/** Looks at the subvolume that an open file or directory is in. */
export function readSubvolume(fd: number): SubvolumeInfo {
  const info = Buffer.alloc(504)
  ioctl(fd, GET_INFO, info)
  return {
    id: info.readBigUInt64LE(0),
    parent: info.readBigUInt64LE(264),
    readOnly: (info.readBigUInt64LE(288) & ROOT_READ_ONLY) !== 0n,
    changed: readTime(info, 376),
    created: readTime(info, 392)
  }
}

function readTime(info: Buffer, at: number): bigint {
  return info.readBigUInt64LE(at) * 1_000_000n + BigInt(Math.floor(info.readUInt32LE(at + 8) / 1000))
}

/** Makes an empty subvolume. Throws EEXIST. */
export function createSubvolume(entry: Entry): void {
  ioctl(entry.directory, CREATE, namedArguments(entry, 8))
}

/** Makes a writable snapshot of the subvolume whose top is open as `source`; those nested in it are empty directories there. */
export function snapshotSubvolume(source: number, entry: Entry): void {
  const args = namedArguments(entry, 56)
  args.writeBigInt64LE(BigInt(source), 0)
  ioctl(entry.directory, SNAPSHOT, args)
}

/** Destroys a subvolume that has none in it. Throws EROFS in one that is read-only, ENOTEMPTY. */
export function destroySubvolume(entry: Entry): void {
  ioctl(entry.directory, DESTROY, namedArguments(entry, 8))
}

/** Makes the subvolume whose top is open read-only or writable. */
export function setSubvolumeReadOnly(fd: number, readOnly: boolean): void {
  const flags = Buffer.alloc(8)
  ioctl(fd, GET_FLAGS, flags)
  const before = flags.readBigUInt64LE()
  const after = readOnly ? before | SUBVOLUME_READ_ONLY : before & ~SUBVOLUME_READ_ONLY
  if (after === before) return
  flags.writeBigUInt64LE(after)
  ioctl(fd, SET_FLAGS, flags)
}

/** Puts the pieces of an open file together on the disk. */
export function defragment(fd: number): void {
  ioctl(fd, DEFRAGMENT, 0)
}

function namedArguments({ name }: Entry, at: number): Buffer {
  const args = Buffer.alloc(ARGUMENTS_SIZE)
  if (name.length > ARGUMENTS_SIZE - at) throw systemError(os.errno.ENAMETOOLONG, 'ioctl')
  name.copy(args, at, 0, name.indexOf(0))
  return args
}

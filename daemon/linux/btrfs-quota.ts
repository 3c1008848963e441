import { constants as os } from 'node:os'
import { isSystemError, systemError } from '../base/errors.ts'
import { btrfsRequest, readSubvolume } from './btrfs.ts'
import { searchTree } from './btrfs-search.ts'
import { ioctl } from './libc.ts'

/*
 * Quota groups of btrfs. A subvolume's own ("leaf") group has its number and level 0. systemd gives some subvolumes one more
 * group of the same number on a higher level, which holds those nested in it, too: the subtree group (spec/dbus.md 8.8).
 */

/** Stands for a size that is not known or not limited. */
export const UNLIMITED = 2n ** 64n - 1n

const QUOTA_TREE = 8n
const INFO_ITEM = 242
const LIMIT_ITEM = 244
const RELATION_ITEM = 246
const LIMIT_REFERENCED = 1n
const LIMIT_EXCLUSIVE = 2n
const TOP_LEVEL = 255
const ATTEMPTS = 10

const CONTROL = btrfsRequest('both', 40, 16)
const ASSIGN = btrfsRequest('write', 41, 24)
const CREATE = btrfsRequest('write', 42, 16)
const LIMIT = btrfsRequest('read', 43, 48)
const RESCAN = btrfsRequest('write', 44, 64)
const RESCAN_STATUS = btrfsRequest('read', 45, 64)
const RESCAN_WAIT = btrfsRequest('none', 46, 0)

/** Bytes that a group uses and may use; UNLIMITED for what is not known and for limits that are not there. */
export interface Quota {
  readonly referenced: bigint
  readonly exclusive: bigint
  readonly referencedLimit: bigint
  readonly exclusiveLimit: bigint
}

const levelOf = (group: bigint): number => Number(group >> 48n)
const numberOf = (group: bigint): bigint => group & 0xffffffffffffn
const groupOf = (level: number, number: bigint): bigint => (BigInt(level) << 48n) | number

/** Switches quota on for the whole file system. */
export function enableQuota(fd: number): void {
  ioctl(fd, CONTROL, words(1n, 0n))
}

/** Whether the numbers are being counted anew and thus wrong. */
export function isCountingQuota(fd: number): boolean {
  const status = Buffer.alloc(64)
  ioctl(fd, RESCAN_STATUS, status)
  return status.readBigUInt64LE() !== 0n
}

/** The numbers of a group. Throws ENOENT while quota is off, ENODATA when there is no such group. */
export function readQuota(fd: number, group: bigint): Quota {
  let quota: Quota | undefined
  const empty = { referenced: UNLIMITED, exclusive: UNLIMITED, referencedLimit: UNLIMITED, exclusiveLimit: UNLIMITED }
  for (const { type, offset, data } of searchTree(fd, {
    tree: QUOTA_TREE,
    object: [0n, 0n],
    type: [INFO_ITEM, LIMIT_ITEM]
  })) {
    if (offset !== group) continue
    if (type === INFO_ITEM) {
      quota = { ...(quota ?? empty), referenced: data.readBigUInt64LE(8), exclusive: data.readBigUInt64LE(24) }
    } else if (type === LIMIT_ITEM) quota = { ...(quota ?? empty), ...limitsOf(data) }
  }
  if (quota === undefined) throw systemError(os.errno.ENODATA, 'quota')
  return quota
}

function limitsOf(data: Buffer): { referencedLimit: bigint; exclusiveLimit: bigint } {
  const flags = data.readBigUInt64LE(0)
  return {
    referencedLimit: (flags & LIMIT_REFERENCED) === 0n ? UNLIMITED : data.readBigUInt64LE(8),
    exclusiveLimit: (flags & LIMIT_EXCLUSIVE) === 0n ? UNLIMITED : data.readBigUInt64LE(16)
  }
}

/** The groups that a group is in; none while quota is off. */
export function parentsOf(fd: number, group: bigint): bigint[] {
  const found: bigint[] = []
  // Each relation is there twice, once for each end.
  const range = { tree: QUOTA_TREE, object: [group, group], type: [RELATION_ITEM, RELATION_ITEM] } as const
  unless('ENOENT', () => {
    for (const { object, offset } of searchTree(fd, range)) {
      if (object === group && levelOf(offset) > levelOf(group)) found.push(offset)
    }
  })
  return found
}

/** A subvolume's subtree group, or its leaf group when it has none. */
export function subtreeGroup(fd: number, subvolume: bigint): bigint {
  return ownGroup(parentsOf(fd, subvolume), subvolume) ?? subvolume
}

function ownGroup(groups: readonly bigint[], subvolume: bigint): bigint | undefined {
  return groups.filter((group) => numberOf(group) === subvolume).sort((a, b) => levelOf(a) - levelOf(b))[0]
}

/** The numbers of the subtree of the subvolume that an open directory is in. Throws as readQuota. */
export function readSubtreeQuota(fd: number): Quota {
  return readQuota(fd, subtreeGroup(fd, readSubvolume(fd).id))
}

/** Limits what a group may refer to; UNLIMITED takes the limit away. Throws ENOTCONN while quota is off, ENOENT for no such group. */
export function limitGroup(fd: number, group: bigint, referenced: bigint): void {
  setLimits(fd, group, { flags: LIMIT_REFERENCED, referenced, exclusive: 0n })
}

function setLimits(fd: number, group: bigint, to: { flags: bigint; referenced: bigint; exclusive: bigint }): void {
  whenCounted(fd, () => ioctl(fd, LIMIT, words(group, to.flags, to.referenced, to.exclusive, 0n, 0n)))
}

/**
 * Puts a subvolume that is in no group yet into those of its parent; with `own`, through a subtree group of its own, one
 * level below theirs. Throws EBUSY when there is no level left.
 */
export function joinParentGroups(fd: number, { subvolume, own }: { subvolume: bigint; own: boolean }): void {
  if (parentsOf(fd, subvolume).length > 0) return
  const parents = groupsOfParent(fd, subvolume)
  if (!own) {
    for (const parent of parents) assign(fd, subvolume, parent)
    return
  }
  const level = Math.min(TOP_LEVEL + 1, ...parents.map(levelOf)) - 1
  if (level < 1) throw systemError(os.errno.EBUSY, 'quota')
  const group = groupOf(level, subvolume)
  create(fd, group)
  for (const parent of parents) assign(fd, group, parent)
  assign(fd, subvolume, group)
}

function groupsOfParent(fd: number, subvolume: bigint): bigint[] {
  const parent = parentSubvolume(fd, subvolume)
  return parent === undefined ? [] : parentsOf(fd, parent)
}

const ROOT_TREE = 1n
const ROOT_BACKREF_ITEM = 144

/** The subvolume that one is in. */
export function parentSubvolume(fd: number, subvolume: bigint): bigint | undefined {
  const type = [ROOT_BACKREF_ITEM, ROOT_BACKREF_ITEM] as const
  for (const { offset } of searchTree(fd, { tree: ROOT_TREE, object: [subvolume, subvolume], type })) return offset
  return undefined
}

/** Gives a snapshot the place among groups that its source has: a subtree group with the same limits, or that of its parent. */
export function copyGroups(fd: number, source: bigint, snapshot: bigint): void {
  const groups = parentsOf(fd, source)
  const own = ownGroup(groups, source)
  const shared = groupsOfParent(fd, source)
  if (own === undefined && !groups.some((group) => shared.includes(group))) return
  joinParentGroups(fd, { subvolume: snapshot, own: own !== undefined })
  const copy = ownGroup(parentsOf(fd, snapshot), snapshot)
  if (own === undefined || copy === undefined) return
  const { referencedLimit, exclusiveLimit } = readQuota(fd, own)
  const flags = LIMIT_REFERENCED | LIMIT_EXCLUSIVE
  setLimits(fd, copy, { flags, referenced: referencedLimit, exclusive: exclusiveLimit })
}

/** Destroys the groups of a subvolume that is gone: its leaf, which newer kernels destroy themselves, and its subtree group. */
export function destroyGroups(fd: number, subvolume: bigint): void {
  for (const parent of parentsOf(fd, subvolume)) {
    unless('ENOENT', () => {
      change(fd, ASSIGN, words(0n, subvolume, parent))
    })
    if (numberOf(parent) === numberOf(subvolume)) destroyGroups(fd, parent)
  }
  unless('ENOENT', () => {
    change(fd, CREATE, words(0n, subvolume))
  })
}

function create(fd: number, group: bigint): void {
  unless('EEXIST', () => {
    change(fd, CREATE, words(1n, group))
  })
}

function assign(fd: number, member: bigint, group: bigint): void {
  unless('EEXIST', () => {
    change(fd, ASSIGN, words(1n, member, group))
  })
}

/** After some changes the kernel wants all to be counted anew, which it says by a result that is no error. */
function change(fd: number, request: number, args: Buffer): void {
  if (whenCounted(fd, () => ioctl(fd, request, args)) > 0) {
    unless('EINPROGRESS', () => {
      ioctl(fd, RESCAN, Buffer.alloc(64))
    })
  }
}

/** Tries again after a count that was under way. */
function whenCounted<T>(fd: number, work: () => T): T {
  for (let attempt = 1; ; attempt++) {
    try {
      return work()
    } catch (error) {
      if (!isSystemError(error) || error.code !== 'EBUSY' || attempt === ATTEMPTS) throw error
      ioctl(fd, RESCAN_WAIT)
    }
  }
}

function unless(code: string, work: () => void): void {
  try {
    work()
  } catch (error) {
    if (!isSystemError(error) || error.code !== code) throw error
  }
}

function words(...values: bigint[]): Buffer {
  return Buffer.from(BigUint64Array.from(values).buffer)
}

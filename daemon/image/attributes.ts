import * as fs from 'node:fs'
import { isOnBtrfs, mayBeSubvolume, readSubvolume } from '../linux/btrfs.ts'
import { isCountingQuota, readSubtreeQuota } from '../linux/btrfs-quota.ts'
import { readBlockDevice } from '../linux/block-device.ts'
import { closeFd } from '../linux/libc.ts'
import { readAttribute, type FileStatus } from '../linux/stat.ts'
import { isHidden, isHost, isVendor, UNKNOWN_SIZE, type Image, type ImageType } from './image.ts'
import { readMountStack } from './mount-stack.ts'

/** The UIDs set aside for files of images, which are no user of this machine (the foreign UID range of systemd). */
const FOREIGN_FIRST = 0x7ffe_0000
const FOREIGN_LAST = FOREIGN_FIRST + 0xffff
const CREATION_TIME = 'user.crtime_usec'
const { O_DIRECTORY, O_NONBLOCK } = fs.constants

/** A file that is an image, with what is already known of it. */
export interface Finding {
  readonly name: string
  /** Absolute, links resolved. */
  readonly path: string
  readonly entry: string
  readonly status: FileStatus
  /** Whether its mount or file system lets nothing be written. */
  readonly onReadOnlyMount: boolean
}

/** What an image's type alone tells. */
type Attributes = Pick<Image, 'type'> & Partial<Omit<Image, 'name' | 'path' | 'entry'>>

/** The image that a file is, with all its attributes (spec/dbus.md 8.5); undefined for files of other kinds. Does not throw. */
export function imageOf(finding: Finding): Image | undefined {
  const attributes = attributesOf(finding)
  if (attributes === undefined) return undefined
  const { name, path, entry } = finding
  const image: Image = {
    name,
    path,
    entry,
    readOnly: false,
    created: 0n,
    modified: 0n,
    usage: UNKNOWN_SIZE,
    usageExclusive: UNKNOWN_SIZE,
    limit: UNKNOWN_SIZE,
    limitExclusive: UNKNOWN_SIZE,
    foreignOwned: false,
    ...attributes
  }
  const readOnly = image.readOnly || isHidden(image) || isVendor(image) || finding.onReadOnlyMount
  return { ...(image.type === 'subvolume' ? withQuota(image) : image), readOnly }
}

/** Whether the attributes change with nothing else but what statx(2) tells. */
export function isKnownByStatus(type: ImageType): boolean {
  return type === 'directory' || type === 'raw'
}

function attributesOf(finding: Finding): Attributes | undefined {
  const { status, path } = finding
  switch (status.kind) {
    case 'directory':
      if (path.endsWith('.mstack')) return stackAttributes(finding)
      return (mayBeSubvolume(status.inode) ? subvolumeAttributes(finding) : undefined) ?? directoryAttributes(finding)
    case 'regular':
      return {
        type: 'raw',
        readOnly: !status.isWritable,
        created: creationTime(finding),
        modified: status.modified,
        usage: status.allocated,
        usageExclusive: status.allocated,
        limit: status.size,
        limitExclusive: status.size
      }
    case 'block':
      return blockAttributes(finding)
    case 'other':
      return undefined
  }
}

function directoryAttributes(finding: Finding): Attributes {
  const { status } = finding
  return {
    type: 'directory',
    readOnly: status.isImmutable,
    created: creationTime(finding),
    foreignOwned: isForeign(status.uid)
  }
}

/** Undefined where the directory is on another file system than btrfs. */
function subvolumeAttributes({ path, status }: Finding): Attributes | undefined {
  return withDirectory(path, (fd) => {
    if (!isOnBtrfs(fd)) return undefined
    const { readOnly, created, changed } = readSubvolume(fd)
    return { type: 'subvolume', readOnly, created, modified: changed, foreignOwned: isForeign(status.uid) }
  })
}

/** Quota is not asked for where it cannot be set. */
function withQuota(image: Image): Image {
  if (isVendor(image) || isHost(image)) return image
  const quota = withDirectory(image.path, (fd) => (isCountingQuota(fd) ? undefined : readSubtreeQuota(fd)))
  if (quota === undefined) return image
  const { referenced, exclusive, referencedLimit, exclusiveLimit } = quota
  return {
    ...image,
    usage: referenced,
    usageExclusive: exclusive,
    limit: referencedLimit,
    limitExclusive: exclusiveLimit
  }
}

function blockAttributes({ path, status }: Finding): Attributes {
  let readOnly = !status.isWritable
  let size = UNKNOWN_SIZE
  try {
    const device = readBlockDevice(path)
    readOnly ||= device.readOnly
    if (device.size !== 0n) size = device.size
  } catch {
    // A node without a device is an image all the same.
  }
  return { type: 'block', readOnly, usage: size, usageExclusive: size, limit: size, limitExclusive: size }
}

/** One that cannot be read is shown as read-only. */
function stackAttributes(finding: Finding): Attributes {
  const known: Attributes = { type: 'mstack', readOnly: true, created: creationTime(finding) }
  try {
    const { readOnly, uids } = readMountStack(finding.path)
    return { ...known, readOnly, foreignOwned: uids.some(isForeign) }
  } catch {
    return known
  }
}

/** The time the file was made, or what a copy of an older one says of that; 0 if unknown. */
function creationTime({ path, status }: Finding): bigint {
  const attribute = readAttribute(path, CREATION_TIME, 8)
  const noted = attribute?.length === 8 ? attribute.readBigUInt64LE() : 0n
  const { birth = 0n } = status
  if (noted === 0n || noted === UNKNOWN_SIZE) return birth
  return birth !== 0n && birth < noted ? birth : noted
}

function isForeign(uid: number): boolean {
  return uid >= FOREIGN_FIRST && uid <= FOREIGN_LAST
}

/** Undefined where the directory cannot be opened or the work fails. */
function withDirectory<T>(path: string, work: (fd: number) => T): T | undefined {
  let fd: number | undefined
  try {
    fd = fs.openSync(path, O_DIRECTORY | O_NONBLOCK)
    return work(fd)
  } catch {
    return undefined
  } finally {
    if (fd !== undefined) closeFd(fd)
  }
}

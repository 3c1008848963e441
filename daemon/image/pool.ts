import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { basename, dirname } from 'node:path'
import { explain, isSystemError, MachinedError, systemError } from '../base/errors.ts'
import { createSubvolume, isOnBtrfs, mayBeSubvolume, readSubvolume } from '../linux/btrfs.ts'
import {
  enableQuota,
  joinParentGroups,
  limitGroup,
  readSubtreeQuota,
  subtreeGroup,
  UNLIMITED
} from '../linux/btrfs-quota.ts'
import { nameOf } from '../linux/file-at.ts'
import { type ImageRequest, requireOwn } from './request.ts'
import type { ImagePlaces } from './places.ts'

const { O_DIRECTORY, O_RDONLY } = fs.constants

/** Bytes that the pool takes and may take; UNLIMITED when that is not known, as it is only where btrfs counts (spec/dbus.md 8.9). */
export interface PoolSize {
  readonly usage: bigint
  readonly limit: bigint
}

/** Throws InvalidArgs for a size that cannot be a limit. */
export function checkLimit(limit: bigint): void {
  if (limit >= 2n ** 63n && limit !== UNLIMITED) throw new MachinedError('InvalidArgs', 'New limit out of range')
}

export function readPoolSize({ pool }: ImagePlaces): PoolSize {
  try {
    const { referenced, referencedLimit } = withDirectory(pool, readSubtreeQuota)
    return { usage: referenced, limit: referencedLimit }
  } catch (error) {
    if (!isSystemError(error)) throw error
    return { usage: UNLIMITED, limit: UNLIMITED }
  }
}

/** Limits what an image that is a subvolume may take. Throws EROFS, EOPNOTSUPP, what btrfs says when it does not count. */
export function setImageLimit({ image, limit }: ImageRequest & { limit: bigint }): void {
  requireOwn(image)
  if (image.type !== 'subvolume') throw systemError(os.errno.EOPNOTSUPP, 'image', image.path)
  withDirectory(image.path, (fd) => {
    setLimits(fd, limit)
  })
}

/**
 * Limits what the pool may take; it becomes a subvolume for that if it is missing, and quota is switched on for the file
 * system. Throws NotSupported where there is no btrfs, others explained.
 */
export function setPoolLimit({ places, limit }: { places: ImagePlaces; limit: bigint }): void {
  try {
    preparePool(places)
  } catch (error) {
    throw explain('Failed to set up machine pool', error)
  }
  try {
    withDirectory(places.pool, (fd) => {
      setLimits(fd, limit)
    })
  } catch (error) {
    const isUnsupported = isSystemError(error) && ['ENOTTY', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS'].includes(error.code)
    if (isUnsupported) throw new MachinedError('NotSupported', 'Quota is only supported on btrfs.')
    throw explain('Failed to adjust quota limit', error)
  }
}

function preparePool({ pool }: ImagePlaces): void {
  if (!fs.existsSync(pool)) {
    const made = withDirectory(dirname(pool), (directory) => {
      if (!isOnBtrfs(directory)) return false
      createSubvolume({ directory, name: nameOf(basename(pool)) })
      return true
    })
    if (!made) return
    fs.chmodSync(pool, 0o700)
  }
  withDirectory(pool, (fd) => {
    if (!isOnBtrfs(fd)) return
    quietly(() => {
      enableQuota(fd)
    })
    quietly(() => {
      joinParentGroups(fd, { subvolume: readSubvolume(fd).id, own: true })
    })
  })
}

/** The limit of the leaf group is for those that know no subtree groups. */
function setLimits(fd: number, limit: bigint): void {
  const subvolume = subvolumeAt(fd)
  quietly(() => {
    limitGroup(fd, subvolume, limit)
  })
  quietly(() => {
    joinParentGroups(fd, { subvolume, own: true })
  })
  limitGroup(fd, subtreeGroup(fd, subvolume), limit)
}

/** Throws ENOTTY for what is no subvolume: a limit would be for something else. */
function subvolumeAt(fd: number): bigint {
  if (!mayBeSubvolume(fs.fstatSync(fd, { bigint: true }).ino)) throw systemError(os.errno.ENOTTY, 'quota')
  return readSubvolume(fd).id
}

function withDirectory<T>(path: string, work: (fd: number) => T): T {
  const fd = fs.openSync(path, O_RDONLY | O_DIRECTORY)
  try {
    return work(fd)
  } finally {
    fs.closeSync(fd)
  }
}

function quietly(work: () => void): void {
  try {
    work()
  } catch (error) {
    if (!isSystemError(error)) throw error
  }
}

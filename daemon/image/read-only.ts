import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { isSystemError, systemError } from '../base/errors.ts'
import { defragment, setSubvolumeReadOnly } from '../linux/btrfs.ts'
import { changeFileFlags } from '../linux/file-flags.ts'
import { ioctl } from '../linux/libc.ts'
import { type ImageType, isHidden } from './image.ts'
import { lockImage } from './locks.ts'
import { type ImageRequest, requireOwn } from './request.ts'

const BLKROSET = 0x125d
const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = fs.constants

/** How each type is made read-only or writable, given an open descriptor of it. */
const ways: Readonly<Record<Exclude<ImageType, 'mstack'>, (fd: number, readOnly: boolean) => void>> = {
  subvolume: setSubvolumeReadOnly,
  directory: (fd, immutable) => {
    changeFileFlags(fd, { immutable })
  },
  raw: (fd, readOnly) => {
    fs.fchmodSync(fd, (fs.fstatSync(fd).mode & 0o444) | (readOnly ? 0 : 0o200))
    if (readOnly) tryDefragment(fd)
  },
  block: (fd, readOnly) => {
    const flag = Buffer.alloc(4)
    flag.writeInt32LE(readOnly ? 1 : 0)
    ioctl(fd, BLKROSET, flag)
  }
}

/** Makes an image read-only or writable (spec/dbus.md 8.8). Throws EROFS, EBUSY, EOPNOTSUPP. */
export function setReadOnly({ image, places, readOnly }: ImageRequest & { readOnly: boolean }): void {
  requireOwn(image)
  if (isHidden(image)) throw systemError(os.errno.EROFS, 'image', image.path)
  using locks = lockImage(image.path, 'exclusive', places)
  if (image.type === 'mstack') throw systemError(os.errno.EOPNOTSUPP, 'image', image.path)
  const fd = fs.openSync(image.path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  try {
    ways[image.type](fd, readOnly)
  } finally {
    fs.closeSync(fd)
  }
}

/** Good for what will not change any more, and possible on btrfs only. */
function tryDefragment(fd: number): void {
  try {
    defragment(fd)
  } catch (error) {
    if (!isSystemError(error)) throw error
  }
}

import * as fs from 'node:fs'
import { closeFd, ioctl } from './libc.ts'

const BLKROGET = 0x125e
const BLKGETSIZE64 = 0x80081272
const { O_RDONLY, O_NONBLOCK, O_NOCTTY } = fs.constants

/** What a block device says of itself. */
export interface BlockDevice {
  readonly readOnly: boolean
  /** Bytes. */
  readonly size: bigint
}

/** Asks a block device. Throws what opening it does: ENXIO for a node without a device. */
export function readBlockDevice(path: string): BlockDevice {
  const fd = fs.openSync(path, O_RDONLY | O_NONBLOCK | O_NOCTTY)
  try {
    const [flag, size] = [Buffer.alloc(4), Buffer.alloc(8)]
    ioctl(fd, BLKROGET, flag)
    ioctl(fd, BLKGETSIZE64, size)
    return { readOnly: flag.readInt32LE() !== 0, size: size.readBigUInt64LE() }
  } finally {
    closeFd(fd)
  }
}

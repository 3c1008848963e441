import { ioctl } from './libc.ts'

const GET = 0x80086601
const SET = 0x40086602

/** The inode flags in use, with the kernel's numbers (chattr(1)). */
const flags = { immutable: 0x10, appendOnly: 0x20, noCopyOnWrite: 0x800000 }
export type FileFlag = keyof typeof flags

/** Whether an open file has the flag. Throws ENOTTY or EOPNOTSUPP where the file system has no flags. */
export function hasFileFlag(fd: number, flag: FileFlag): boolean {
  return (readFlags(fd) & flags[flag]) !== 0
}

/** Sets and takes away flags of an open file; says whether that changed anything. Throws EPERM, and as hasFileFlag. */
export function changeFileFlags(fd: number, wanted: Partial<Record<FileFlag, boolean>>): boolean {
  const before = readFlags(fd)
  let after = before
  for (const [flag, value] of Object.entries(wanted)) {
    const bit = flags[flag as FileFlag]
    after = value ? after | bit : after & ~bit
  }
  if (after === before) return false
  const word = Buffer.alloc(8)
  word.writeInt32LE(after)
  ioctl(fd, SET, word)
  return true
}

function readFlags(fd: number): number {
  const word = Buffer.alloc(8)
  ioctl(fd, GET, word)
  return word.readInt32LE()
}

import { checked, declare, failedWith } from './libc.ts'
import { statx } from './stat.ts'

/*
 * The calls on files that take a directory and one name in it, instead of a path. Names are bytes that end with a zero,
 * as the kernel gives them: no file system promises UTF-8. None of these follows a link.
 */

/** A name in a directory. */
export interface Entry {
  readonly directory: number
  /** Ends with a zero byte. */
  readonly name: Buffer
}

/** read(2) as the C library has it: -1 for a failure. */
export const read = declare<(fd: number, into: Buffer, size: number) => number>('read', 'long', [
  'int',
  'void *',
  'size_t'
])

const c = {
  openat: declare<(fd: number, name: Buffer, flags: number, mode: number) => number>('openat', 'int', [
    'int',
    'void *',
    'int',
    'uint'
  ]),
  mkdirat: declare<(fd: number, name: Buffer, mode: number) => number>('mkdirat', 'int', ['int', 'void *', 'uint']),
  mknodat: declare<(fd: number, name: Buffer, mode: number, device: number) => number>('mknodat', 'int', [
    'int',
    'void *',
    'uint',
    'ulong'
  ]),
  symlinkat: declare<(target: Buffer, fd: number, name: Buffer) => number>('symlinkat', 'int', [
    'void *',
    'int',
    'void *'
  ]),
  readlinkat: declare<(fd: number, name: Buffer, into: Buffer, size: number) => number>('readlinkat', 'long', [
    'int',
    'void *',
    'void *',
    'size_t'
  ]),
  linkat: declare<(fd: number, name: Buffer, toFd: number, toName: Buffer, flags: number) => number>('linkat', 'int', [
    'int',
    'void *',
    'int',
    'void *',
    'int'
  ]),
  renameat2: declare<(fd: number, name: Buffer, toFd: number, toName: Buffer, flags: number) => number>(
    'renameat2',
    'int',
    ['int', 'void *', 'int', 'void *', 'uint']
  ),
  unlinkat: declare<(fd: number, name: Buffer, flags: number) => number>('unlinkat', 'int', ['int', 'void *', 'int']),
  fchownat: declare<(fd: number, name: Buffer, uid: number, gid: number, flags: number) => number>('fchownat', 'int', [
    'int',
    'void *',
    'uint',
    'uint',
    'int'
  ]),
  fchmod: declare<(fd: number, mode: number) => number>('fchmod', 'int', ['int', 'uint']),
  fchmodat: declare<(fd: number, name: Buffer, mode: number, flags: number) => number>('fchmodat', 'int', [
    'int',
    'void *',
    'uint',
    'int'
  ]),
  futimens: declare<(fd: number, times: Buffer) => number>('futimens', 'int', ['int', 'void *']),
  utimensat: declare<(fd: number, name: Buffer, times: Buffer, flags: number) => number>('utimensat', 'int', [
    'int',
    'void *',
    'void *',
    'int'
  ]),
  getdents: declare<(fd: number, into: Buffer, size: number) => number>('getdents64', 'long', [
    'int',
    'void *',
    'size_t'
  ]),
  write: declare<(fd: number, from: Buffer, size: number) => number>('write', 'long', ['int', 'void *', 'size_t']),
  lseek: declare<(fd: number, offset: number, whence: number) => number>('lseek', 'int64_t', ['int', 'int64_t', 'int']),
  ftruncate: declare<(fd: number, size: number) => number>('ftruncate', 'int', ['int', 'int64_t']),
  copyFileRange: declare<(from: number, at: null, to: number, toAt: null, size: number, flags: number) => number>(
    'copy_file_range',
    'long',
    ['int', 'void *', 'int', 'void *', 'size_t', 'uint']
  ),
  sendfile: declare<(to: number, from: number, at: null, size: number) => number>('sendfile', 'long', [
    'int',
    'int',
    'void *',
    'size_t'
  ]),
  flistxattr: declare<(fd: number, into: Buffer, size: number) => number>('flistxattr', 'long', [
    'int',
    'void *',
    'size_t'
  ]),
  fgetxattr: declare<(fd: number, name: Buffer, into: Buffer, size: number) => number>('fgetxattr', 'long', [
    'int',
    'void *',
    'void *',
    'size_t'
  ]),
  fsetxattr: declare<(fd: number, name: Buffer, value: Buffer, size: number, flags: number) => number>(
    'fsetxattr',
    'int',
    ['int', 'void *', 'void *', 'size_t', 'int']
  )
}

const AT_FDCWD = -100
const AT_SYMLINK_NOFOLLOW = 0x100
const AT_REMOVEDIR = 0x200
const AT_SYMLINK_FOLLOW = 0x400
const AT_EMPTY_PATH = 0x1000
const O_CLOEXEC = 0x80000
const STATX_BASIC_STATS = 0x7ff
const RENAME_NOREPLACE = 1
const nothing = Buffer.from([0])

/** A name for the kernel. */
export function nameOf(text: string): Buffer {
  return Buffer.from(`${text}\0`)
}

/** A path in place of a name, which leads from the working directory if from no other. */
export function entryOf(path: string): Entry {
  return { directory: AT_FDCWD, name: nameOf(path) }
}

/** A name of the kernel's for people to read. */
export function textOf(name: Buffer): string {
  return name.toString('utf8', 0, name.indexOf(0))
}

/** openat(2), close-on-exec. */
export function openAt({ directory, name }: Entry, flags: number, mode = 0): number {
  return checked(c.openat(directory, name, flags | O_CLOEXEC, mode), 'openat')
}

/** statx(2) of a name into 256 bytes. */
export function statAt({ directory, name }: Entry, into: Buffer): void {
  checked(statx(directory, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, into), 'statx')
}

/** statx(2) of a descriptor, which may be O_PATH, into 256 bytes. */
export function statFd(fd: number, into: Buffer): void {
  checked(statx(fd, nothing, AT_EMPTY_PATH, STATX_BASIC_STATS, into), 'statx')
}

/** mkdirat(2) */
export function makeDirectoryAt({ directory, name }: Entry, mode: number): void {
  checked(c.mkdirat(directory, name, mode), 'mkdirat')
}

/** mknodat(2); `device` is a dev_t. */
export function makeNodeAt({ directory, name }: Entry, mode: number, device: number): void {
  checked(c.mknodat(directory, name, mode, device), 'mknodat')
}

/** symlinkat(2) */
export function makeLinkAt(target: Buffer, { directory, name }: Entry): void {
  checked(c.symlinkat(target, directory, name), 'symlinkat')
}

/** readlinkat(2): gives the length. */
export function readLinkAt({ directory, name }: Entry, into: Buffer): number {
  return checked(c.readlinkat(directory, name, into, into.length), 'readlinkat')
}

/** linkat(2) */
export function linkAt(from: Entry, to: Entry): void {
  checked(c.linkat(from.directory, from.name, to.directory, to.name, 0), 'linkat')
}

/** linkat(2) that follows the first link: for those of /proc/thread-self/fd only, that is, for files without a name. */
export function linkThrough(from: Entry, to: Entry): void {
  checked(c.linkat(from.directory, from.name, to.directory, to.name, AT_SYMLINK_FOLLOW), 'linkat')
}

/** renameat2(2) where nothing has the new name. Throws EEXIST. */
export function renameAt(from: Entry, to: Entry): void {
  checked(c.renameat2(from.directory, from.name, to.directory, to.name, RENAME_NOREPLACE), 'renameat2')
}

/** renameat2(2) in place of what has the new name. */
export function replaceAt(from: Entry, to: Entry): void {
  checked(c.renameat2(from.directory, from.name, to.directory, to.name, 0), 'renameat2')
}

/** unlinkat(2) of what is no directory. */
export function unlinkAt({ directory, name }: Entry): void {
  checked(c.unlinkat(directory, name, 0), 'unlinkat')
}

/** The same, but says whether there was such a name, where an error would cost more than the call. */
export function tryUnlinkAt({ directory, name }: Entry): boolean {
  const result = c.unlinkat(directory, name, 0)
  if (result === -1 && failedWith('ENOENT')) return false
  checked(result, 'unlinkat')
  return true
}

/** unlinkat(2) of an empty directory. */
export function removeDirectoryAt({ directory, name }: Entry): void {
  checked(c.unlinkat(directory, name, AT_REMOVEDIR), 'unlinkat')
}

/** fchownat(2) of a name. */
export function changeOwnerAt({ directory, name }: Entry, uid: number, gid: number): void {
  checked(c.fchownat(directory, name, uid, gid, AT_SYMLINK_NOFOLLOW), 'fchownat')
}

/** fchownat(2) of a descriptor, which may be O_PATH. */
export function changeOwner(fd: number, uid: number, gid: number): void {
  checked(c.fchownat(fd, nothing, uid, gid, AT_EMPTY_PATH), 'fchownat')
}

/** fchmod(2) */
export function changeMode(fd: number, mode: number): void {
  checked(c.fchmod(fd, mode), 'fchmod')
}

/** fchmodat(2), which follows links: for those of /proc/thread-self/fd only, that is, for O_PATH descriptors. */
export function changeModeThrough({ directory, name }: Entry, mode: number): void {
  checked(c.fchmodat(directory, name, mode, 0), 'fchmodat')
}

/** futimens(3); `times` are two struct timespec. */
export function setTimes(fd: number, times: Buffer): void {
  checked(c.futimens(fd, times), 'futimens')
}

/** utimensat(2) of a name. */
export function setTimesAt({ directory, name }: Entry, times: Buffer): void {
  checked(c.utimensat(directory, name, times, AT_SYMLINK_NOFOLLOW), 'utimensat')
}

/** getdents64(2): gives the bytes filled, 0 at the end. */
export function readEntries(fd: number, into: Buffer): number {
  return checked(c.getdents(fd, into, into.length), 'getdents64')
}

/** read(2) of at most `size` bytes. */
export function readInto(fd: number, into: Buffer, size: number): number {
  return checked(read(fd, into, size), 'read')
}

/** write(2) of all `size` bytes. */
export function writeFrom(fd: number, from: Buffer, size: number): void {
  for (let done = 0; done < size;) {
    const rest = done === 0 ? from : from.subarray(done)
    done += checked(c.write(fd, rest, size - done), 'write')
  }
}

/** lseek(2) */
export function seek(fd: number, offset: number, whence: number): number {
  return checked(c.lseek(fd, offset, whence), 'lseek')
}

/** ftruncate(2) */
export function truncate(fd: number, size: number): void {
  checked(c.ftruncate(fd, size), 'ftruncate')
}

/** copy_file_range(2) from and to where the descriptors stand; gives the bytes copied. */
export function copyFileRange(from: number, to: number, size: number): number {
  return checked(c.copyFileRange(from, null, to, null, size, 0), 'copy_file_range')
}

/** sendfile(2) from and to where the descriptors stand; gives the bytes copied. */
export function sendFile(from: number, to: number, size: number): number {
  return checked(c.sendfile(to, from, null, size), 'sendfile')
}

/** flistxattr(2): gives the length of the names, each of which ends with a zero. */
export function listAttributes(fd: number, into: Buffer): number {
  return checked(c.flistxattr(fd, into, into.length), 'flistxattr')
}

/** fgetxattr(2): gives the length. */
export function getAttributeOf(fd: number, name: Buffer, into: Buffer): number {
  return checked(c.fgetxattr(fd, name, into, into.length), 'fgetxattr')
}

/** fsetxattr(2) */
export function setAttributeOf(fd: number, name: Buffer, value: Buffer, size: number): void {
  checked(c.fsetxattr(fd, name, value, size, 0), 'fsetxattr')
}

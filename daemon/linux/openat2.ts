import { type Entry, nameOf } from './file-at.ts'
import { checked, declare, failedWith } from './libc.ts'

/* openat2(2): opening with a say in where names and links may lead. All of it close-on-exec, and nothing makes a file. */

const call = declare<(n: number, fd: number, name: Buffer, how: Buffer, size: number) => number>('syscall', 'long', [
  'long',
  'long',
  'void *',
  'void *',
  'size_t'
])

const SYS_OPENAT2 = 437
const O_CLOEXEC = 0x80000
const RESOLVE_NO_XDEV = 0x01
const RESOLVE_NO_MAGICLINKS = 0x02
const RESOLVE_NO_SYMLINKS = 0x04
const RESOLVE_IN_ROOT = 0x10
const MOST_ATTEMPTS = 64

/**
 * Opens a path with the directory as the root of all names and links, and no link of /proc followed. `flags` as for
 * open(2).
 */
export function openat2(directory: number, path: string, flags: number): number {
  const name = nameOf(path)
  for (let attempt = 1; ; attempt++) {
    const fd = open({ directory, name }, flags, RESOLVE_NO_MAGICLINKS | RESOLVE_IN_ROOT)
    // EAGAIN: something was renamed or mounted meanwhile, anywhere on the system, so that `..` could not be trusted.
    if (fd !== -1 || !failedWith('EAGAIN') || attempt === MOST_ATTEMPTS) return checked(fd, 'openat2', path)
  }
}

/** Opens what is on the same mount as the directory, and no link but as O_PATH with O_NOFOLLOW. Throws EXDEV for a mount point. */
export function openOnSameMount(entry: Entry, flags: number): number {
  return checked(open(entry, flags, RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS), 'openat2')
}

function open({ directory, name }: Entry, flags: number, resolve: number): number {
  const how = Buffer.alloc(24)
  how.writeBigUInt64LE(BigInt(flags | O_CLOEXEC), 0)
  how.writeBigUInt64LE(BigInt(resolve), 16)
  return call(SYS_OPENAT2, directory, name, how, how.length)
}

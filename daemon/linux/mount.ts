import { checked, declare } from './libc.ts'

/*
 * The kernel's calls on mounts that take descriptors instead of paths: open_tree(2), mount_setattr(2), move_mount(2). A
 * tree that was cloned belongs to nobody until it is attached, and dissolves when its descriptor is closed.
 */

const c = {
  openTree: declare<(n: number, fd: number, path: string, flags: number) => number>('syscall', 'long', [
    'long',
    'long',
    'str',
    'ulong'
  ]),
  moveMount: declare<(n: number, from: number, fromPath: string, to: number, toPath: string, flags: number) => number>(
    'syscall',
    'long',
    ['long', 'long', 'str', 'long', 'str', 'ulong']
  ),
  mountSetattr: declare<(n: number, fd: number, path: string, flags: number, attr: Buffer, size: number) => number>(
    'syscall',
    'long',
    ['long', 'long', 'str', 'ulong', 'void *', 'size_t']
  ),
  fchdir: declare<(fd: number) => number>('fchdir', 'int', ['int']),
  umount2: declare<(path: string, flags: number) => number>('umount2', 'int', ['str', 'int'])
}

const [sysOpenTree, sysMoveMount, sysMountSetattr] = [428, 429, 442] as const
const AT_EMPTY_PATH = 0x1000
const AT_RECURSIVE = 0x8000
const OPEN_TREE_CLONE = 1
const OPEN_TREE_CLOEXEC = 0x80000
const MOVE_MOUNT_F_EMPTY_PATH = 0x4
const MOVE_MOUNT_T_EMPTY_PATH = 0x40
const MOVE_MOUNT_BENEATH = 0x200
const MOUNT_ATTR_IDMAP = 0x100000
const MS_PRIVATE = 0x40000
const MNT_DETACH = 2
const UMOUNT_NOFOLLOW = 8

const attributeBits = { readOnly: 1, noSuid: 2, noDev: 4, noExec: 8 } as const

/** What changes about a mount, or with `recursive` about all of a tree. */
export interface MountChanges {
  readonly set?: readonly (keyof typeof attributeBits)[]
  /** Lets mounts and unmounts no longer go from or to other namespaces. */
  readonly private?: boolean
  /** A user namespace, as a descriptor: its IDs become those that the file system has stored. */
  readonly userNamespace?: number
  readonly recursive?: boolean
}

/**
 * Clones the mount at a descriptor, which may be O_PATH, from there downwards. Throws EINVAL for one that is not in the
 * calling thread's mount namespace, or, unless `recursive`, has others on it that must not be taken away.
 */
export function cloneTree(fd: number, { recursive = false } = {}): number {
  const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0)
  return checked(c.openTree(sysOpenTree, fd, '', flags), 'open_tree')
}

/** mount_setattr(2). Throws EINVAL for a file system that cannot have its users mapped, and for one that has already. */
export function changeMount(fd: number, changes: MountChanges): void {
  const attr = Buffer.alloc(32)
  const bits = (changes.set ?? []).reduce((sum, name) => sum | attributeBits[name], 0)
  attr.writeBigUInt64LE(BigInt(bits | (changes.userNamespace === undefined ? 0 : MOUNT_ATTR_IDMAP)), 0)
  attr.writeBigUInt64LE(BigInt(changes.private === true ? MS_PRIVATE : 0), 16)
  attr.writeBigUInt64LE(BigInt(changes.userNamespace ?? 0), 24)
  const flags = AT_EMPTY_PATH | (changes.recursive === true ? AT_RECURSIVE : 0)
  checked(c.mountSetattr(sysMountSetattr, fd, '', flags, attr, attr.length), 'mount_setattr')
}

/**
 * Attaches a cloned tree at the place that `target` is a descriptor (O_PATH) of. With `beneath` it goes below the mount
 * that is there, which throws EINVAL where there is none or the kernel (before 6.5) cannot.
 */
export function attachTree(tree: number, target: number, { beneath = false } = {}): void {
  const flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH | (beneath ? MOVE_MOUNT_BENEATH : 0)
  checked(c.moveMount(sysMoveMount, tree, '', target, '', flags), 'move_mount')
}

/**
 * Takes the topmost mount at a path away at once, with all on it; who has files open in there keeps them. The last
 * component is not followed if it is a link. Throws EINVAL when nothing is mounted there. Can take as long as writing
 * back what the file system holds.
 */
export function detachMount(path: string): void {
  checked(c.umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW), 'umount2', path)
}

/**
 * The same for the mount that a descriptor of the calling thread is the top of. There is only a call for paths, and no
 * path that can be trusted: `links` is a descriptor of the host's /proc/thread-self/fd, which becomes the working directory.
 */
export function detachMountOf(fd: number, links: number): void {
  checked(c.fchdir(links), 'fchdir')
  checked(c.umount2(String(fd), MNT_DETACH), 'umount2')
}

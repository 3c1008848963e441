import { constants as fs } from 'node:fs'
import { constants as os } from 'node:os'
import { ifPossible, isSystemError, systemError } from '../base/errors.ts'
import {
  btrfsRequest,
  destroySubvolume,
  readSubvolume,
  setSubvolumeReadOnly,
  snapshotSubvolume,
  type SubvolumeInfo
} from './btrfs.ts'
import { copyGroups, destroyGroups } from './btrfs-quota.ts'
import { searchTree } from './btrfs-search.ts'
import { type Entry, openAt, removeDirectoryAt } from './file-at.ts'
import { closeFd, dupFd, ioctl } from './libc.ts'

/* Subvolumes with those that are nested in them. */

const ROOT_TREE = 1n
const ROOT_REF_ITEM = 156
const LOOKUP_SIZE = 4096
const LOOKUP = btrfsRequest('both', 18, LOOKUP_SIZE)
const directoryFlags = fs.O_RDONLY | fs.O_DIRECTORY | fs.O_NOFOLLOW
const SLASH = 0x2f

/** A subvolume directly in another one. */
interface Nested {
  readonly id: bigint
  /** The names of the directories that lead to it. */
  readonly way: readonly Buffer[]
  readonly name: Buffer
}

/**
 * Makes a writable snapshot of a subvolume, open as `source`, and of all that are nested in it, with their places among the
 * quota groups. Those that go, or that something is mounted over, are left out. Leaves what is done on failure.
 */
export function snapshotTree(source: number, target: Entry): void {
  snapshotInto(source, target, new Set())
}

/** `made` are our own snapshots, not to be found again where the copy goes into the source. */
function snapshotInto(source: number, target: Entry, made: Set<bigint>): void {
  const { id } = readSubvolume(source)
  const nested = findNested(source, id)
  snapshotSubvolume(source, target)
  withDirectory(openAt(target, directoryFlags), (top) => {
    const snapshot = readSubvolume(top)
    made.add(snapshot.id)
    for (const child of nested) replacePlaceholder({ source, id }, { top, snapshot }, child, made)
    quietly(() => {
      copyGroups(top, id, snapshot.id)
    })
  })
}

function replacePlaceholder(
  { source, id }: { source: number; id: bigint },
  { top, snapshot }: { top: number; snapshot: SubvolumeInfo },
  child: Nested,
  made: Set<bigint>
): void {
  const from = openWay(source, child.way, id)
  if (from === undefined) return
  withDirectory(from, (directory) => {
    const inner = openNested(directory, child)
    if (inner === undefined) return
    withDirectory(inner, () => {
      const to = openWay(top, child.way, snapshot.id)
      if (to === undefined) return
      withDirectory(to, () => {
        const entry = { directory: to, name: child.name }
        removeDirectoryAt(entry)
        if (!made.has(child.id)) snapshotInto(inner, entry, made)
      })
    })
  })
}

/** Destroys a subvolume, all that are nested in it, and their quota groups. Throws EBUSY where something is mounted over one. */
export function removeSubvolumeTree(entry: Entry): void {
  const id = withDirectory(openAt(entry, directoryFlags), (top) => {
    const info = readSubvolume(top)
    const nested = findNested(top, info.id)
    if (nested.length > 0) setSubvolumeReadOnly(top, false)
    for (const child of nested) {
      const directory = openWay(top, child.way, info.id)
      if (directory === undefined) throw systemError(os.errno.EBUSY, 'ioctl')
      withDirectory(directory, () => {
        removeSubvolumeTree({ directory, name: child.name })
      })
    }
    return info.id
  })
  destroySubvolume(entry)
  quietly(() => {
    destroyGroups(entry.directory, id)
  })
}

/** Makes a subvolume and all that are nested in it read-only. */
export function setTreeReadOnly(top: number): void {
  const { id } = readSubvolume(top)
  for (const child of findNested(top, id)) {
    const way = openWay(top, child.way, id)
    if (way === undefined) continue
    withDirectory(way, (directory) => {
      withDirectory(openAt({ directory, name: child.name }, directoryFlags), setTreeReadOnly)
    })
  }
  setSubvolumeReadOnly(top, true)
}

/** What is directly in the subvolume, as the file system's own list has it. */
function findNested(fd: number, id: bigint): Nested[] {
  const range = { tree: ROOT_TREE, object: [id, id], type: [ROOT_REF_ITEM, ROOT_REF_ITEM] } as const
  const found: Nested[] = []
  for (const { offset, data } of searchTree(fd, range)) {
    const end = 18 + data.readUInt16LE(16)
    const name = Buffer.concat([data.subarray(18, end), Buffer.of(0)])
    found.push({ id: offset, way: findWay(fd, id, data.readBigUInt64LE(0)), name })
  }
  return found
}

/** The names that lead from the top of a subvolume to a directory in it. */
function findWay(fd: number, subvolume: bigint, directory: bigint): Buffer[] {
  const args = Buffer.alloc(LOOKUP_SIZE)
  args.writeBigUInt64LE(subvolume, 0)
  args.writeBigUInt64LE(directory, 8)
  ioctl(fd, LOOKUP, args)
  const way: Buffer[] = []
  // Each name ends with a slash here.
  for (let at = 16; args[at] !== 0;) {
    const end = args.indexOf(SLASH, at)
    way.push(Buffer.concat([args.subarray(at, end), Buffer.of(0)]))
    at = end + 1
  }
  return way
}

/** Opens a directory of the subvolume; undefined when the way leads elsewhere, out of which it may have been moved or mounted over. */
function openWay(top: number, way: readonly Buffer[], subvolume: bigint): number | undefined {
  let fd = dupFd(top)
  for (const name of way) {
    const next = openUnlessGone({ directory: fd, name })
    closeFd(fd)
    if (next === undefined) return undefined
    fd = next
  }
  if (isIn(fd, subvolume)) return fd
  closeFd(fd)
  return undefined
}

function openNested(directory: number, { id, name }: Nested): number | undefined {
  const fd = openUnlessGone({ directory, name })
  if (fd === undefined || isIn(fd, id)) return fd
  closeFd(fd)
  return undefined
}

function openUnlessGone(entry: Entry): number | undefined {
  try {
    return openAt(entry, directoryFlags)
  } catch (error) {
    if (isSystemError(error) && ['ENOENT', 'ENOTDIR', 'ELOOP'].includes(error.code)) return undefined
    throw error
  }
}

function isIn(fd: number, subvolume: bigint): boolean {
  return ifPossible(() => readSubvolume(fd).id) === subvolume
}

function withDirectory<T>(fd: number, work: (fd: number) => T): T {
  try {
    return work(fd)
  } finally {
    closeFd(fd)
  }
}

/** Quota groups are an extra: mostly there are none. */
function quietly(work: () => void): void {
  try {
    work()
  } catch (error) {
    if (!isSystemError(error)) throw error
  }
}

import * as fs from 'node:fs'
import { FileLock, type HeldLock, type LockKind } from '../linux/file-lock.ts'
import { closeFd } from '../linux/libc.ts'
import { attachTree, changeMount, cloneTree } from '../linux/mount.ts'
import { lockImage } from './locks.ts'
import type { ImagePlaces } from './places.ts'

const O_PATH = 0x200000
const DIRECTORY = O_PATH | fs.constants.O_DIRECTORY | fs.constants.O_NOFOLLOW

/** Locks an image, see lockImage(), till releaseLocks(). */
export function holdImage(image: { path: string; kind: LockKind; places: ImagePlaces }): HeldLock[] {
  return lockImage(image.path, image.kind, image.places).hand()
}

/** Gives the locks of holdImage() back. */
export function releaseLocks(locks: readonly HeldLock[]): void {
  for (const lock of [...locks].reverse()) FileLock.adopt(lock).release()
}

/** A directory of the host and where else to mount it. */
export interface DirectoryMount {
  readonly source: string
  readonly point: string
  readonly readOnly: boolean
  /** With what is mounted in it. */
  readonly recursive: boolean
}

/** Mounts a directory at a second place, where nothing in it can harm the host. */
export function mountDirectory({ source, point, readOnly, recursive }: DirectoryMount): void {
  const set = ['noSuid', 'noDev', ...(readOnly ? (['readOnly'] as const) : [])] as const
  withOpen(source, (directory) => {
    const tree = cloneTree(directory, { recursive })
    try {
      changeMount(tree, { set, private: true, recursive: true })
      withOpen(point, (target) => {
        attachTree(tree, target)
      })
    } finally {
      closeFd(tree)
    }
  })
}

/** The same precautions for what is mounted at a path already. */
export function confineMount(point: string): void {
  withOpen(point, (mount) => {
    changeMount(mount, { set: ['noSuid', 'noDev'], private: true, recursive: true })
  })
}

function withOpen(path: string, work: (fd: number) => void): void {
  const fd = fs.openSync(path, DIRECTORY)
  try {
    work(fd)
  } finally {
    closeFd(fd)
  }
}

import * as fs from 'node:fs'
import { isSystemError } from '../base/errors.ts'
import { closeFd } from './libc.ts'
import { attachTree, changeMount, cloneTree } from './mount.ts'
import type { Place } from './namespace-jobs.ts'
import { openat2 } from './openat2.ts'

const O_PATH = 0x200000

/** A clone of the machine's root directory with all that is mounted below, as the descriptor of a tree that nobody sees yet. */
export function cloneRootTree(place: Place): number {
  return place.inNamespace(() => place.give(cloneTree(place.rootFd, { recursive: true })))
}

/** Where the kernel shows itself and devices: of no use to who looks at files, and endless for who walks through them. */
const KERNEL_DIRECTORIES = ['proc', 'sys', 'dev'] as const

/**
 * Covers /proc, /sys and /dev of an attached clone of a root with an empty directory. They cannot be taken away: in the
 * namespace of a container with users of its own the kernel ties them to what they are mounted on.
 */
export function coverKernelDirectories(_place: Place, { tree, empty }: { tree: number; empty: number }): void {
  for (const name of KERNEL_DIRECTORIES) {
    const directory = openDirectoryIn(tree, name)
    if (directory === undefined) continue
    try {
      coverDirectory(directory, empty)
    } finally {
      closeFd(directory)
    }
  }
}

/** No link is followed: what is no directory needs no cover. */
function openDirectoryIn(tree: number, name: string): number | undefined {
  try {
    return openat2(tree, name, O_PATH | fs.constants.O_DIRECTORY | fs.constants.O_NOFOLLOW)
  } catch (error) {
    if (isSystemError(error) && ['ENOENT', 'ENOTDIR'].includes(error.code)) return undefined
    throw error
  }
}

function coverDirectory(directory: number, empty: number): void {
  const cover = cloneTree(empty)
  try {
    changeMount(cover, { set: ['readOnly', 'noSuid', 'noDev', 'noExec'], private: true })
    attachTree(cover, directory)
  } finally {
    closeFd(cover)
  }
}

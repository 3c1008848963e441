import * as fs from 'node:fs'
import { isSystemError } from '../base/errors.ts'
import { createSubvolume, isOnBtrfs, mayBeSubvolume, readSubvolume } from '../linux/btrfs.ts'
import { joinParentGroups } from '../linux/btrfs-quota.ts'
import { setTreeReadOnly, snapshotTree } from '../linux/btrfs-tree.ts'
import { copyTree } from '../linux/copy-tree.ts'
import { type Entry, makeDirectoryAt, openAt, textOf } from '../linux/file-at.ts'
import { closeFd } from '../linux/libc.ts'
import type { Copy } from './clone-raw.ts'

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = fs.constants
const directoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW

/** Copies a directory: a subvolume by a snapshot, where source and target allow, into a subvolume where there are such, else as files. */
export function cloneDirectory(copy: Copy): void {
  const source = fs.openSync(copy.source, directoryFlags)
  try {
    if (!trySnapshot(source, copy.target)) copyFiles(source, copy)
  } finally {
    fs.closeSync(source)
  }
  const made = openAt(copy.target, directoryFlags)
  try {
    if (isSubvolume(made)) finishSubvolume(made, copy.readOnly)
  } finally {
    closeFd(made)
  }
}

/** False when it has to be copied in another way. */
function trySnapshot(source: number, target: Entry): boolean {
  if (!isSubvolume(source) || !isOnBtrfs(target.directory)) return false
  try {
    snapshotTree(source, target)
    return true
  } catch (error) {
    // On another file system than the target.
    if (isSystemError(error) && error.code === 'EXDEV') return false
    throw error
  }
}

function copyFiles(source: number, { target, control }: Copy): void {
  if (isOnBtrfs(target.directory)) createSubvolume(target)
  else makeDirectoryAt(target, 0o700)
  const to = { directory: target.directory, name: textOf(target.name) }
  const from = { directory: source, name: '.' }
  copyTree({ from, to, fromMachine: false, owner: undefined, replace: false, image: true, control: control.shared })
}

/** The groups of the pool count and limit it, too. */
function finishSubvolume(fd: number, readOnly: boolean): void {
  if (readOnly) setTreeReadOnly(fd)
  try {
    joinParentGroups(fd, { subvolume: readSubvolume(fd).id, own: false })
  } catch (error) {
    if (!isSystemError(error)) throw error
  }
}

function isSubvolume(fd: number): boolean {
  return mayBeSubvolume(fs.fstatSync(fd, { bigint: true }).ino) && isOnBtrfs(fd)
}

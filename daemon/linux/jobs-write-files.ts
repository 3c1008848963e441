import * as fs from 'node:fs'
import { isSystemError } from '../base/errors.ts'
import { changeOwner, makeDirectoryAt, nameOf, openAt, unlinkAt } from './file-at.ts'
import { closeFd } from './libc.ts'
import type { Place } from './namespace-jobs.ts'
import { openat2 } from './openat2.ts'

const O_PATH = 0x200000

/** A small file to be put into a machine. */
export interface GuestFile {
  /** Names of the directories below `/run`, made where they are missing. */
  readonly directory: readonly string[]
  readonly name: string
  readonly text: string
}

/**
 * Puts files below the machine's `/run`, with the owner that it has: in a machine with users of its own, its root.
 * Nothing but directories is followed on the way. Does nothing where that is the host's own, as of a service that has
 * but a network to itself. Throws what the kernel says.
 */
export function writeFiles({ rootFd }: Place, files: readonly GuestFile[]): void {
  const run = openat2(rootFd, 'run', O_PATH | fs.constants.O_DIRECTORY)
  try {
    const { uid, gid, dev, ino } = fs.fstatSync(run)
    const own = fs.statSync('/run')
    if (dev === own.dev && ino === own.ino) return
    for (const file of files) writeFile(run, file, { uid, gid })
  } finally {
    closeFd(run)
  }
}

interface Owner {
  readonly uid: number
  readonly gid: number
}

function writeFile(run: number, { directory: names, name, text }: GuestFile, owner: Owner): void {
  const opened: number[] = []
  try {
    let directory = run
    for (const part of names) opened.push((directory = enter(directory, part, owner)))
    const entry = { directory, name: nameOf(name) }
    unless('ENOENT', () => {
      unlinkAt(entry)
    })
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = fs.constants
    const fd = openAt(entry, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644)
    opened.push(fd)
    changeOwner(fd, owner.uid, owner.gid)
    fs.writeSync(fd, text)
  } finally {
    opened.forEach(closeFd)
  }
}

/** A directory below another, made with that owner when it is not there. */
function enter(directory: number, part: string, { uid, gid }: Owner): number {
  const entry = { directory, name: nameOf(part) }
  const flags = fs.constants.O_RDONLY | fs.constants.O_DIRECTORY | fs.constants.O_NOFOLLOW
  try {
    return openAt(entry, flags)
  } catch (error) {
    if (!isSystemError(error) || error.code !== 'ENOENT') throw error
  }
  unless('EEXIST', () => {
    makeDirectoryAt(entry, 0o755)
  })
  const fd = openAt(entry, flags)
  changeOwner(fd, uid, gid)
  return fd
}

function unless(code: string, work: () => void): void {
  try {
    work()
  } catch (error) {
    if (!isSystemError(error) || error.code !== code) throw error
  }
}

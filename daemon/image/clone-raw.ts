import * as fs from 'node:fs'
import { AttributeCopier } from '../linux/copy-attributes.ts'
import { ContentCopier } from '../linux/copy-content.ts'
import type { CopyControl } from '../linux/copy-control.ts'
import { CopyStatus } from '../linux/copy-status.ts'
import { type Entry, nameOf, openAt, setAttributeOf, setTimes, statFd } from '../linux/file-at.ts'
import { changeFileFlags, hasFileFlag } from '../linux/file-flags.ts'
import { closeFd } from '../linux/libc.ts'
import { isSystemError } from '../base/errors.ts'

const { O_CREAT, O_EXCL, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } = fs.constants

/** A copy to be made; `target` does not exist yet. */
export interface Copy {
  readonly source: string
  readonly target: Entry
  readonly readOnly: boolean
  /** When the source was made, in microseconds; 0 if unknown. */
  readonly created: bigint
  readonly control: CopyControl
}

/** Copies a disk image: by reference where the file system can, else with its holes. */
export function cloneRaw({ source, target, readOnly, created, control }: Copy): void {
  const input = fs.openSync(source, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)
  try {
    const output = openAt(target, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
    try {
      fill(input, output, control)
      if (created !== 0n) noteCreation(output, created)
      fs.fchmodSync(output, readOnly ? 0o444 : 0o644)
    } finally {
      closeFd(output)
    }
  } finally {
    fs.closeSync(input)
  }
}

function fill(input: number, output: number, control: CopyControl): void {
  const status = new CopyStatus()
  statFd(input, status.raw)
  matchCopyOnWrite(input, output)
  new ContentCopier(control).copy(input, output, status)
  control.count(0, 1)
  new AttributeCopier('user').copy(input, output)
  setTimes(output, status.times)
}

/** Files that are written in place share no blocks with others, so the copy has to be of the source's kind; or it is better for a disk. */
function matchCopyOnWrite(input: number, output: number): void {
  try {
    const sameFileSystem = fs.fstatSync(input).dev === fs.fstatSync(output).dev
    changeFileFlags(output, { noCopyOnWrite: !sameFileSystem || hasFileFlag(input, 'noCopyOnWrite') })
  } catch (error) {
    if (!isSystemError(error)) throw error
  }
}

/** The copy is as old as its source, as systemd notes it. */
function noteCreation(output: number, created: bigint): void {
  const value = Buffer.alloc(8)
  value.writeBigUInt64LE(created)
  try {
    setAttributeOf(output, nameOf('user.crtime_usec'), value, value.length)
  } catch (error) {
    if (!isSystemError(error)) throw error
  }
}

import * as fs from 'node:fs'
import { isSystemError } from '../base/errors.ts'

/** What an inotify descriptor tells of, as bits (inotify(7)). */
export const Inotify = {
  attributes: 0x4,
  closedAfterWriting: 0x8,
  closedAfterReading: 0x10,
  movedFrom: 0x40,
  movedTo: 0x80,
  created: 0x100,
  deleted: 0x200,
  deletedItself: 0x400,
  movedItself: 0x800,
  unmounted: 0x2000,
  overflow: 0x4000,
  ignored: 0x8000
} as const

/** Bits of inotify_add_watch(2): only directories, and in addition to what is watched there already. */
export const WATCH_DIRECTORY = 0x1000000
export const WATCH_IN_ADDITION = 0x20000000

/** One thing that happened. */
export interface InotifyEvent {
  /** Which watch tells of it; -1 for an overflow, which is about all. */
  readonly watch: number
  readonly mask: number
  /** The entry of the watched directory; '' for the directory itself. */
  readonly name: string
}

const HEADER = 16
/** For one turn of the loop; what is left then makes the descriptor readable again. */
const buffer = Buffer.allocUnsafeSlow(16 * 1024)

/** Takes the events that wait; none where the descriptor has none. */
export function readInotify(fd: number): InotifyEvent[] {
  let length: number
  try {
    length = fs.readSync(fd, buffer)
  } catch (error) {
    if (isSystemError(error) && error.code === 'EAGAIN') return []
    throw error
  }
  const events: InotifyEvent[] = []
  for (let at = 0; at + HEADER <= length;) {
    const end = at + HEADER + buffer.readUInt32LE(at + 12)
    const name = buffer.toString('utf8', at + HEADER, end).replace(/\0+$/, '')
    events.push({ watch: buffer.readInt32LE(at), mask: buffer.readUInt32LE(at + 4), name })
    at = end
  }
  return events
}

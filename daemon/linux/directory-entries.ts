import { readEntries } from './file-at.ts'

const RECORD_LENGTH = 16
const TYPE = 18
const NAME = 19
const DT_UNKNOWN = 0
const DT_DIR = 4
/** Room for the names of most file systems; the kernel's longest are 4095 bytes. */
const USUAL_NAME = 264
/** What there is to be for one more call: many entries, as each may be as long as a name can be. */
const ROOM = 16384

/**
 * Calls `visit` with the name (ending with a zero, valid during the call) and the type (the DT constants of readdir(3)) of
 * each file in an open directory, in the order of the directory. `buffer` must stay untouched meanwhile.
 */
export function forEachEntry(fd: number, buffer: Buffer, visit: (name: Buffer, type: number) => void): void {
  let name = Buffer.allocUnsafeSlow(USUAL_NAME)
  for (let length = readEntries(fd, buffer); length > 0; length = readEntries(fd, buffer)) {
    forEachRecord(buffer, length, (start, end, type) => {
      if (end - start > name.length) name = Buffer.allocUnsafeSlow(end - start)
      copyName(buffer, start, name)
      visit(name, type)
    })
  }
}

/** The same for what readAllEntries() gave; the names are valid as long as that is. */
export function forEachOf(entries: Buffer, visit: (name: Buffer, type: number) => void): void {
  forEachRecord(entries, entries.length, (start, end, type) => {
    visit(entries.subarray(start, end), type)
  })
}

function forEachRecord(
  entries: Buffer,
  length: number,
  visit: (start: number, end: number, type: number) => void
): void {
  for (let at = 0; at < length;) {
    const end = at + entries.readUInt16LE(at + RECORD_LENGTH)
    if (!isDots(entries, at + NAME)) visit(at + NAME, end, entries[at + TYPE] ?? 0)
    at = end
  }
}

/** By hand, as to ask for a view of each name takes longer than most of what is done with it. */
function copyName(entries: Buffer, start: number, name: Buffer): void {
  let at = -1
  do {
    at++
    name[at] = entries[start + at] ?? 0
  } while (name[at] !== 0)
}

/**
 * All entries of an open directory as the kernel gives them: in `buffer`, or in a larger one when they do not fit. The same
 * entries are the same bytes.
 */
export function readAllEntries(fd: number, buffer: Buffer): Buffer {
  let [entries, length] = [buffer, 0]
  // Between a name and the next entry the kernel leaves what was there.
  entries.fill(0)
  for (;;) {
    if (entries.length - length < ROOM) {
      const larger = Buffer.alloc(entries.length * 2)
      entries.copy(larger, 0, 0, length)
      entries = larger
    }
    const more = readEntries(fd, entries.subarray(length))
    if (more === 0) return entries.subarray(0, length)
    length += more
  }
}

/** Whether an entry's type says that it is no directory. Some file systems say of none what it is. */
export function isFile(type: number): boolean {
  return type !== DT_UNKNOWN && type !== DT_DIR
}

/** Whether the name is `.` or `..`. */
function isDots(buffer: Buffer, at: number): boolean {
  if (buffer[at] !== 0x2e) return false
  return buffer[at + 1] === 0 || (buffer[at + 1] === 0x2e && buffer[at + 2] === 0)
}

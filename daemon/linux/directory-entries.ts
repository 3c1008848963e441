import { readEntries } from './file-at.ts'

const RECORD_LENGTH = 16
const TYPE = 18
const NAME = 19
/** What there is to be for one more call: many entries, as each may be as long as a name can be. */
const ROOM = 16384

/**
 * Calls `visit` with the name (ending with a zero, valid during the call) and the type (the DT constants of readdir(3)) of
 * each file in an open directory, in the order of the directory. `buffer` must stay untouched meanwhile.
 */
export function forEachEntry(fd: number, buffer: Buffer, visit: (name: Buffer, type: number) => void): void {
  for (let length = readEntries(fd, buffer); length > 0; length = readEntries(fd, buffer)) {
    forEachOf(buffer, length, visit)
  }
}

/** The same for what readAllEntries() gave. */
export function forEachOf(entries: Buffer, length: number, visit: (name: Buffer, type: number) => void): void {
  for (let at = 0; at < length;) {
    const end = at + entries.readUInt16LE(at + RECORD_LENGTH)
    if (!isDots(entries, at + NAME)) visit(entries.subarray(at + NAME, end), entries[at + TYPE] ?? 0)
    at = end
  }
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

/** Whether the name is `.` or `..`. */
function isDots(buffer: Buffer, at: number): boolean {
  if (buffer[at] !== 0x2e) return false
  return buffer[at + 1] === 0 || (buffer[at + 1] === 0x2e && buffer[at + 2] === 0)
}

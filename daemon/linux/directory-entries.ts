import { readEntries } from './file-at.ts'

const RECORD_LENGTH = 16
const TYPE = 18
const NAME = 19

/**
 * Calls `visit` with the name (ending with a zero, valid during the call) and the type (the DT constants of readdir(3)) of
 * each file in an open directory, in the order of the directory. `buffer` must stay untouched meanwhile.
 */
export function forEachEntry(fd: number, buffer: Buffer, visit: (name: Buffer, type: number) => void): void {
  for (let length = readEntries(fd, buffer); length > 0; length = readEntries(fd, buffer)) {
    for (let at = 0; at < length;) {
      const end = at + buffer.readUInt16LE(at + RECORD_LENGTH)
      if (!isDots(buffer, at + NAME)) visit(buffer.subarray(at + NAME, end), buffer[at + TYPE] ?? 0)
      at = end
    }
  }
}

/** Whether the name is `.` or `..`. */
function isDots(buffer: Buffer, at: number): boolean {
  if (buffer[at] !== 0x2e) return false
  return buffer[at + 1] === 0 || (buffer[at + 1] === 0x2e && buffer[at + 2] === 0)
}

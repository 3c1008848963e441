import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { ifPossible, systemError } from '../base/errors.ts'
import { changeMode, entryOf, openAt, replaceAt, tryUnlinkAt, writeFrom } from './file-at.ts'
import { closeFd } from './libc.ts'
import { randomHex } from './random.ts'

const { O_WRONLY, O_CREAT, O_EXCL } = fs.constants

/**
 * Replaces the file at `path` in one step, so that readers see the old or the new text, never half of it
 * (spec/dbus.md 2.2). Not synced to disk. Throws SystemError. On failure the old file stays and no temporary file is left.
 */
export function writeFileAtomically(path: string, text: string | Uint8Array, mode: number): void {
  // Not by node:path, which takes a multiple of the time for what is done at each registration.
  const name = path.lastIndexOf('/') + 1
  const temporary = `${path.slice(0, name)}.#${path.slice(name)}${randomHex(8)}`
  // Made unreadable to others at first: `mode` counts only when the content is complete.
  const entry = entryOf(temporary)
  const fd = openAt(entry, O_WRONLY | O_CREAT | O_EXCL, 0o640)
  try {
    try {
      const data = Buffer.from(text)
      writeFrom(fd, data, data.length)
      // Unlike the mode given to open(2), this one is not cut down by the umask.
      changeMode(fd, mode)
    } finally {
      closeFd(fd)
    }
    replaceAt(entry, entryOf(path))
  } catch (error) {
    tryUnlinkAt(entry)
    throw error
  }
}

/**
 * Replaces the file at `path` in one step, and is done when that is on the disk: a host that loses its power later has the
 * new text. Threads do it, as a disk may take long. For one writer at a time. Rejects with what fs throws; the old file
 * stays then.
 */
export async function writeFileDurably(path: string, text: string, mode: number): Promise<void> {
  const temporary = join(dirname(path), `.#${basename(path)}.new`)
  const file = await fs.promises.open(temporary, 'w', 0o640)
  try {
    await file.writeFile(text)
    await file.chmod(mode)
    await file.sync()
  } finally {
    await file.close()
  }
  await fs.promises.rename(temporary, path)
  const directory = await fs.promises.open(dirname(path), 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

/**
 * The text of a regular file of at most `limit` bytes. Never blocks on a FIFO or device. Throws EFBIG for a bigger
 * file, EISDIR for a directory and EINVAL for anything else that is not a regular file.
 */
export function readFileBounded(path: string, limit: number): string {
  const fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK | fs.constants.O_NOCTTY)
  try {
    const stat = fs.fstatSync(fd)
    if (stat.isDirectory()) throw systemError(os.errno.EISDIR, 'read', path)
    if (!stat.isFile()) throw systemError(os.errno.EINVAL, 'read', path)
    const chunks: Buffer[] = []
    let total = 0
    // The size in stat(2) is no use here: files in /proc have none.
    for (;;) {
      const chunk = Buffer.allocUnsafe(Math.min(Math.max(stat.size - total, 4096) + 1, limit + 1 - total))
      const length = fs.readSync(fd, chunk)
      if (length === 0) return Buffer.concat(chunks).toString('utf8')
      total += length
      if (total > limit) throw systemError(os.errno.EFBIG, 'read', path)
      chunks.push(chunk.subarray(0, length))
    }
  } finally {
    fs.closeSync(fd)
  }
}

/** The names in a directory; none where it cannot be read. */
export function namesIn(directory: string): string[] {
  return ifPossible(() => fs.readdirSync(directory)) ?? []
}

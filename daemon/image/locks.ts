import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { isSystemError, systemError } from '../base/errors.ts'
import { FileLock, type HeldLock, type LockKind } from '../linux/file-lock.ts'
import { HOST_IMAGE } from './image.ts'
import type { ImagePlaces } from './places.ts'

/** Locks that are held together. */
export class Locks {
  readonly #held: FileLock[] = []

  add(lock: FileLock | undefined): void {
    if (lock !== undefined) this.#held.push(lock)
  }

  /** For another thread, see FileLock.hand(). */
  hand(): HeldLock[] {
    return this.#held.splice(0).map((lock) => lock.hand())
  }

  /** Gives all back, the last one first. */
  [Symbol.dispose](): void {
    for (const lock of this.#held.splice(0).reverse()) lock.release()
  }
}

/**
 * Locks the image at a path as systemd-nspawn does while it runs one: by the name of its file and by what the file is
 * (spec/dbus.md 8.7). Throws EBUSY when it is in use, EROFS beside an image that cannot be written.
 */
export function lockImage(path: string, kind: LockKind, places: ImagePlaces): Locks {
  const locks = new Locks()
  if (isLockingOff()) return locks
  if (path === '/') {
    if (kind === 'exclusive') throw systemError(os.errno.EBUSY, 'lock', path)
    return locks
  }
  try {
    locks.add(lockBeside(path, kind))
    const name = nameOfInode(path)
    if (name === undefined) return locks
    locks.add(takeGlobal(name, kind, places))
    // What is locked by its name is not replaced by anybody who asks for locks; that it was not before is to be seen.
    if (nameOfInode(path) !== name) throw systemError(os.errno.EBUSY, 'lock', path)
    return locks
  } catch (error) {
    locks[Symbol.dispose]()
    throw error
  }
}

/** Reserves a name for an image that is to be made. Throws EBUSY when somebody else does, and for the host's. */
export function lockName(name: string, places: ImagePlaces): Locks {
  const locks = new Locks()
  if (isLockingOff()) return locks
  if (name === HOST_IMAGE) throw systemError(os.errno.EBUSY, 'lock', name)
  locks.add(takeGlobal(`name-${name}`, 'exclusive', places))
  return locks
}

function isLockingOff(): boolean {
  return /^(0|no|n|false|f|off)$/i.test(process.env['SYSTEMD_NSPAWN_LOCK'] ?? '')
}

function lockBeside(path: string, kind: LockKind): FileLock | undefined {
  if (path.startsWith('/dev/')) return undefined
  try {
    return FileLock.take(join(dirname(path), `.#${basename(path)}.lck`), kind)
  } catch (error) {
    if (kind === 'shared' && isSystemError(error) && error.code === 'EROFS') return undefined
    throw error
  }
}

/** Undefined for what is not there. Throws ENOTTY for what cannot be an image. */
function nameOfInode(path: string): string | undefined {
  const stat = fs.statSync(path, { bigint: true, throwIfNoEntry: false })
  if (stat === undefined) return undefined
  if (stat.isFile() || stat.isDirectory()) return `inode-${String(stat.dev)}:${String(stat.ino)}`
  if (stat.isBlockDevice()) return `block-${String(majorOf(stat.rdev))}:${String(minorOf(stat.rdev))}`
  throw systemError(os.errno.ENOTTY, 'lock', path)
}

const majorOf = (device: bigint): bigint => ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn)
const minorOf = (device: bigint): bigint => (device & 0xffn) | ((device >> 12n) & 0xffffff00n)

/** Takes a lock of those that are for the whole host; the directory for them may have to be made. */
function takeGlobal(name: string, kind: LockKind, { locks }: ImagePlaces): FileLock {
  if (locks === undefined) throw systemError(os.errno.ENXIO, 'lock')
  const path = join(locks, name)
  try {
    return FileLock.take(path, kind)
  } catch (error) {
    if (!isSystemError(error) || error.code !== 'ENOENT') throw error
  }
  fs.mkdirSync(dirname(locks), { recursive: true, mode: 0o755 })
  fs.mkdirSync(locks, { recursive: true, mode: 0o700 })
  return FileLock.take(path, kind)
}

import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { join } from 'node:path'
import { systemError } from '../base/errors.ts'
import { CopyControl } from '../linux/copy-control.ts'
import { cloneDirectory } from './clone-directory.ts'
import { cloneRaw } from './clone-raw.ts'
import { trySetImmutable } from './immutable.ts'
import { lockName } from './locks.ts'
import { requireFreeName } from './name-taken.ts'
import type { ImageRequest } from './request.ts'
import { cloneSideFiles, type Complaints } from './side-files.ts'
import { Temporary } from './temporary.ts'

/** What to clone. */
export interface CloneRequest extends ImageRequest {
  readonly newName: string
  readonly readOnly: boolean
  /** The memory of a CopyControl. */
  readonly control: SharedArrayBuffer
}

/**
 * Makes a copy of an image in the pool (spec/dbus.md 8.8), which gets its name when it is whole. The source is not locked: a
 * running one can be cloned. Throws EBUSY and EEXIST for the new name, EOPNOTSUPP, ECANCELED, what copying fails with.
 */
export function cloneImage({ image, places, newName, readOnly, control }: CloneRequest): Complaints {
  using reserved = lockName(newName, places)
  requireFreeName(newName, places)
  if (image.type === 'block' || image.type === 'mstack') throw systemError(os.errno.EOPNOTSUPP, 'clone', image.path)
  const target = join(places.pool, image.type === 'raw' ? `${newName}.raw` : newName)
  const copy = image.type === 'raw' ? cloneRaw : cloneDirectory
  fs.mkdirSync(places.pool, { recursive: true, mode: 0o700 })
  using temporary = new Temporary(places.pool, 'clone')
  const { path: source, created } = image
  const cancellable = new CopyControl(control)
  try {
    copy({ source, target: temporary.entry, readOnly, created, control: cancellable })
    cancellable.throwIfCancelled()
    temporary.give(target)
  } catch (error) {
    discard(temporary)
    throw error
  }
  // Only this comes after the name, as what has this flag cannot be renamed; subvolumes and files can, and have theirs by now.
  // Were the daemon to end in between, nobody has been told of a read-only clone.
  if (readOnly && image.type === 'directory') trySetImmutable(target, true)
  const complaints = cloneSideFiles(image, { name: newName, path: target }, places)
  return complaints
}

/** What keeps it from being removed is less than what went wrong before; the next start of the daemon tries again. */
function discard(temporary: Temporary): void {
  try {
    temporary.remove()
  } catch {
    // Mostly it was not made at all.
  }
}

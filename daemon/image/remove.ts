import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { dirname } from 'node:path'
import { isSystemError, systemError } from '../base/errors.ts'
import { CopyControl } from '../linux/copy-control.ts'
import { readMounts } from '../linux/mount-info.ts'
import { withoutImmutableFlag } from './immutable.ts'
import { lockImage } from './locks.ts'
import { handleOf, type ImageRequest, isLinked, requireOwn } from './request.ts'
import { type Complaints, removeSideFiles } from './side-files.ts'
import { Temporary } from './temporary.ts'

/**
 * Removes an image with its side files (spec/dbus.md 8.8), or only the link to one. A directory first loses its name, so that
 * never half of it is an image. Throws EROFS, EBUSY for one in use or with something mounted in it.
 */
export function removeImage({ image, places, control }: ImageRequest & { control: SharedArrayBuffer }): Complaints {
  const path = handleOf(image)
  requireOwn(image, path)
  using locks = lockImage(path, 'exclusive', places)
  if (isLinked(image) || image.type === 'raw') fs.unlinkSync(path)
  else if (image.type !== 'block') removeDirectory(path, new CopyControl(control))
  else if (!path.startsWith('/dev/')) fs.unlinkSync(path)
  const complaints = removeSideFiles(image.name, path, places)
  return complaints
}

function removeDirectory(path: string, control: CopyControl): void {
  if (isMountedOn(path)) throw systemError(os.errno.EBUSY, 'remove', path)
  using temporary = new Temporary(dirname(path), 'removal')
  try {
    withoutImmutableFlag(path, () => {
      temporary.take(path)
    })
  } catch (error) {
    // Directories in a lower layer of overlayfs cannot be renamed.
    if (!isSystemError(error) || error.code !== 'EXDEV') throw error
    temporary.removeSibling(path, control)
    return
  }
  temporary.remove(control)
}

/** Whether something is mounted at the path or below it. */
function isMountedOn(path: string): boolean {
  return readMounts().some(({ mountPoint }) => mountPoint === path || mountPoint.startsWith(`${path}/`))
}

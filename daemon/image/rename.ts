import { constants as fs } from 'node:fs'
import { constants as os } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { systemError } from '../base/errors.ts'
import { nameOf, openAt, renameAt } from '../linux/file-at.ts'
import { closeFd } from '../linux/libc.ts'
import type { Image } from './image.ts'
import { setImmutable, withoutImmutableFlag } from './immutable.ts'
import { lockImage, lockName } from './locks.ts'
import { requireFreeName } from './name-taken.ts'
import { handleOf, type ImageRequest, isLinked, requireOwn } from './request.ts'
import { type Complaints, renameSideFiles } from './side-files.ts'

/**
 * Gives an image, with its side files, a new name where it is (spec/dbus.md 8.8); of one behind a link it is the link that is
 * renamed. Throws EROFS, EBUSY, EEXIST, EOPNOTSUPP.
 */
export function renameImage({ image, places, newName }: ImageRequest & { newName: string }): Complaints {
  const path = handleOf(image)
  requireOwn(image, path)
  using locks = lockImage(path, 'exclusive', places)
  using reserved = lockName(newName, places)
  requireFreeName(newName, places)
  const target = join(dirname(path), newName + suffixOf(image, path))
  if (image.type === 'directory' && !isLinked(image)) {
    const hadFlag = withoutImmutableFlag(path, () => {
      rename(path, target)
    })
    if (hadFlag) setImmutable(target, true)
  } else rename(path, target)
  const complaints = renameSideFiles(image.name, newName, path, places)
  return complaints
}

/** What follows the image's name in that of its file. */
function suffixOf(image: Image, path: string): string {
  if (isLinked(image)) return basename(path).slice(image.name.length)
  // One out of several versions; under a name without a version it would be none any more.
  if (basename(dirname(path)).endsWith('.v') && dirname(path) === image.entry) throw unsupported(path)
  if (image.type === 'mstack') throw unsupported(path)
  if (image.type === 'block' && path.startsWith('/dev/')) throw systemError(os.errno.EROFS, 'rename', path)
  return image.type === 'raw' ? '.raw' : ''
}

function unsupported(path: string): Error {
  return systemError(os.errno.EOPNOTSUPP, 'rename', path)
}

function rename(from: string, to: string): void {
  const directory = openAt({ directory: -1, name: nameOf(dirname(from)) }, fs.O_RDONLY | fs.O_DIRECTORY)
  try {
    renameAt({ directory, name: nameOf(basename(from)) }, { directory, name: nameOf(basename(to)) })
  } finally {
    closeFd(directory)
  }
}

import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { systemError } from '../base/errors.ts'
import { type Image, isHost, isVendor } from './image.ts'
import type { ImagePlaces } from './places.ts'

/** What all work on an image needs to know, in a form that goes from thread to thread. */
export interface ImageRequest {
  readonly image: Image
  readonly places: ImagePlaces
}

/** Whether the entry of the search directory leads elsewhere: then it is but a name, and what it leads to somebody else's. */
export function isLinked({ entry }: Image): boolean {
  return fs.lstatSync(entry, { throwIfNoEntry: false })?.isSymbolicLink() === true
}

/** What is removed and renamed: the link, or else the image itself. */
export function handleOf(image: Image): string {
  return isLinked(image) ? image.entry : image.path
}

/** Throws EROFS for the host, and for what came with the operating system. */
export function requireOwn(image: Image, path = image.path): void {
  if (isHost({ ...image, path }) || isVendor({ ...image, path })) throw systemError(os.errno.EROFS, 'image', path)
}

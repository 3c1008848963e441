import * as fs from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { readSystemIdentity, type SystemIdentity } from '../linux/system-identity.ts'
import { describeFailure, type Failure } from '../linux/thread-failure.ts'
import { Discovery } from './discover.ts'
import type { Image } from './image.ts'
import { lockImage } from './locks.ts'
import type { ImagePlaces } from './places.ts'

/* The entry of a worker thread (searcher.ts) that looks for images, because file systems can be slow to answer, or never do. */

/** What is searched for: one image by its name, all of them, or what is in one. */
export type What = { readonly name: string } | { readonly all: true } | { readonly inside: Image | string }
export type Search = { readonly id: number } & What

/** What a search found. Without `images` they are those of the last search for all. */
export type Found =
  | { readonly id: number; readonly image: Image | undefined; readonly identity?: SystemIdentity | undefined }
  | { readonly id: number; readonly images: readonly Image[] }
  | { readonly id: number; readonly failure: Failure }
  | { readonly id: number }

const O_PATH = 0x200000
const places = workerData as ImagePlaces
const discovery = new Discovery(places)
const root = fs.openSync('/', O_PATH | fs.constants.O_DIRECTORY)
let sent: readonly Image[] | undefined

parentPort?.on('message', (search: Search) => {
  parentPort?.postMessage(perform(search))
})

function perform(search: Search): Found {
  const { id } = search
  try {
    if ('name' in search) return { id, image: discovery.find(search.name) }
    if ('inside' in search) {
      const { inside } = search
      const image = typeof inside === 'string' ? discovery.find(inside) : inside
      return { id, image, identity: image === undefined ? undefined : readInside(image) }
    }
    const images = discovery.list()
    if (images === sent) return { id }
    sent = images
    return { id, images }
  } catch (error) {
    return { id, failure: describeFailure(error) }
  }
}

/** Links in an image lead nowhere else: its files are found with the image as their root. Throws EBUSY for one in use. */
function readInside({ type, path }: Image): SystemIdentity | undefined {
  lockImage(path, 'shared', places)[Symbol.dispose]()
  return type === 'directory' || type === 'subvolume' ? readSystemIdentity(root, path) : undefined
}

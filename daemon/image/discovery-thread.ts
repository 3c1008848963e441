import { parentPort, workerData } from 'node:worker_threads'
import { describeFailure, type Failure } from '../linux/thread-failure.ts'
import { Discovery } from './discover.ts'
import type { Image } from './image.ts'
import { lockImage } from './locks.ts'
import type { ImagePlaces } from './places.ts'

/* The entry of the worker thread (images.ts) that looks for images, because file systems can be slow to answer, or never do. */

/** A search for one image by its name or for all, or the question whether somebody works on that at a path. */
export type Search = { readonly id: number } & (
  { readonly name: string } | { readonly all: true } | { readonly path: string }
)

/** What a search found. `images` is missing when they are those of the last search for all. */
export type Found =
  | { readonly id: number; readonly image: Image | undefined }
  | { readonly id: number; readonly images?: readonly Image[] }
  | { readonly id: number; readonly failure: Failure }

const places = workerData as ImagePlaces
const discovery = new Discovery(places)
let sent: readonly Image[] | undefined

parentPort?.on('message', (search: Search) => {
  parentPort?.postMessage(perform(search))
})

function perform(search: Search): Found {
  const { id } = search
  try {
    if ('name' in search) return { id, image: discovery.find(search.name) }
    if ('path' in search) {
      lockImage(search.path, 'shared', places)[Symbol.dispose]()
      return { id }
    }
    const images = discovery.list()
    if (images === sent) return { id }
    sent = images
    return { id, images }
  } catch (error) {
    return { id, failure: describeFailure(error) }
  }
}

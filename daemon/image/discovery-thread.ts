import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import { systemError } from '../base/errors.ts'
import { type IdentityPart, readSystemIdentity, type SystemIdentity } from '../linux/system-identity.ts'
import { describeFailure, type Failure } from '../linux/thread-failure.ts'
import { Discovery } from './discover.ts'
import type { Image } from './image.ts'
import { lockImage } from './locks.ts'
import type { ImagePlaces } from './places.ts'
import { Whereabouts } from './whereabouts.ts'

/* The entry of a worker thread (searcher.ts) that looks for images, because file systems can be slow to answer, or never do. */

/** What is to be told of what is in an image, or in that of a name: all, or one thing. */
export interface Inside {
  readonly inside: Image | string
  readonly part: IdentityPart | undefined
}

/** What is searched for: one image by its name, all of them, or what is in one. */
export type What = { readonly name: string } | { readonly all: true } | Inside
export type Search = { readonly id: number; readonly hanging: ReadonlySet<string> | undefined } & What

/** What the thread is started with, some of it in memory that both sides see. */
export interface ThreadData {
  readonly places: ImagePlaces
  /** The memory of its Whereabouts. */
  readonly whereabouts: SharedArrayBuffer
  /** Searches that another thread does instead: those after the first of these ids, up to the second. */
  readonly passedOn: Int32Array
}

/** What a search found. Without `images` they are those of the last search for all. */
export type Found =
  | { readonly id: number; readonly image: Image | undefined; readonly identity?: SystemIdentity | undefined }
  | { readonly id: number; readonly images: readonly Image[] }
  | { readonly id: number; readonly failure: Failure }
  | { readonly id: number }

const O_PATH = 0x200000
const NONE: ReadonlySet<string> = new Set()
const { places, passedOn, ...data } = workerData as ThreadData
const whereabouts = new Whereabouts(data.whereabouts)
const discovery = new Discovery(places, whereabouts)
const root = fs.openSync('/', O_PATH | fs.constants.O_DIRECTORY)
let sent: readonly Image[] | undefined

parentPort?.on('message', (search: Search) => {
  if (!isPassedOn(search)) parentPort?.postMessage(perform(search))
})

/** The second number is written after the first, and thus read before it. */
function isPassedOn({ id }: Search): boolean {
  return id <= Atomics.load(passedOn, 1) && id > Atomics.load(passedOn, 0)
}

function perform(search: Search): Found {
  const { id } = search
  discovery.hanging = search.hanging ?? NONE
  try {
    if ('name' in search) return { id, image: discovery.find(search.name) }
    if ('inside' in search) {
      const { inside, part } = search
      const image = typeof inside === 'string' ? discovery.find(inside) : inside
      return { id, image, identity: image === undefined ? undefined : readInside(image, part) }
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
function readInside({ type, path, entry }: Image, part: IdentityPart | undefined): SystemIdentity | undefined {
  if (discovery.hanging.has(entry)) throw systemError(os.errno.EBUSY, 'search', path)
  whereabouts.enterPlace(entry)
  lockImage(path, 'shared', places)[Symbol.dispose]()
  return type === 'directory' || type === 'subvolume' ? readSystemIdentity(root, path, part) : undefined
}

import { MachinedError } from '../base/errors.ts'
import { SharedWork, SharedWorks } from '../base/shared-work.ts'
import type { IdentityPart, SystemIdentity } from '../linux/system-identity.ts'
import type { Image } from './image.ts'
import type { ImagePlaces } from './places.ts'
import { Searcher } from './searcher.ts'

/** An image with what was read in it; nothing for one whose files are not simply there. */
export interface ImageInside {
  readonly image: Image
  readonly identity: SystemIdentity | undefined
}

/** The machine images there are at the moment of each call (spec/dbus.md 8). */
export class Images {
  readonly places: ImagePlaces
  readonly #searcher: Searcher
  /** What is in an image may hang where the image itself does not. */
  readonly #reader: Searcher
  /** What was found last when it was looked for all. */
  #found: readonly Image[] = []
  // Clients ask for several things of an image in one go.
  readonly #finds = new SharedWorks<Image | undefined>()
  readonly #reads = new SharedWorks<ImageInside>()
  readonly #lists = new SharedWork(() => this.#list())

  constructor(places: ImagePlaces) {
    this.places = places
    this.#searcher = new Searcher(places)
    this.#reader = new Searcher(places)
  }

  /**
   * The image of a name; undefined when there is none. Throws SystemError for a search directory that cannot be read,
   * ETIMEDOUT for a file system that does not answer, EBUSY while earlier searches hang in one.
   */
  find(name: string): Promise<Image | undefined> {
    return this.#finds.run(name, () => this.#find(name))
  }

  /** The image of a name. Throws NoSuchImage, and as find(). */
  async get(name: string): Promise<Image> {
    return required(name, await this.find(name))
  }

  /** All images; the same array as long as nothing changes. Throws as find(). */
  list(): Promise<readonly Image[]> {
    return this.#lists.run()
  }

  /** Looks into an image, or into that of a name, for all or for one part. Throws as get(), and EBUSY while anybody runs or changes it. */
  readInside(image: Image | string, part?: IdentityPart): Promise<ImageInside> {
    const which = typeof image === 'string' ? image : image.path
    return this.#reads.run(`${part ?? ''}:${which}`, () => this.#readInside(image, part))
  }

  /** Ends the threads; who waits gets ECANCELED. */
  close(): void {
    this.#searcher.close()
    this.#reader.close()
  }

  async #find(name: string): Promise<Image | undefined> {
    const found = await this.#searcher.search({ name })
    return 'image' in found ? found.image : undefined
  }

  async #readInside(image: Image | string, part: IdentityPart | undefined): Promise<ImageInside> {
    const found = await this.#reader.search({ inside: image, part })
    if (!('image' in found)) throw new Error('The search was another')
    const name = typeof image === 'string' ? image : image.name
    return { image: required(name, found.image), identity: found.identity }
  }

  async #list(): Promise<readonly Image[]> {
    const found = await this.#searcher.search({ all: true })
    if ('images' in found) this.#found = found.images
    return this.#found
  }
}

function required(name: string, image: Image | undefined): Image {
  if (image === undefined) throw new MachinedError('NoSuchImage', `No image '${name}' known`)
  return image
}

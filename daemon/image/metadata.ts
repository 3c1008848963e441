import { constants as os } from 'node:os'
import { explain, ExplainedError, systemError } from '../base/errors.ts'
import type { IdentityPart, SystemIdentity } from '../linux/system-identity.ts'
import { Dissector } from './dissect.ts'
import type { Image } from './image.ts'
import type { Images } from './images.ts'

/** Reads what is in images (spec/dbus.md 8.8). */
export class MetadataReader {
  readonly #images: Images
  readonly #dissector = new Dissector()

  constructor(images: Images) {
    this.#images = images
  }

  /**
   * What the system in an image, or in that of a name, says of itself, or at least one part of that. Throws NoSuchImage, and an explained error: EBUSY while
   * the image is in use, EOPNOTSUPP for a mount stack, ETIMEDOUT, EBUSY for a file system that does not answer, and for disk
   * images what Dissector.read() throws.
   */
  async read(of: Image | string, part?: IdentityPart): Promise<SystemIdentity> {
    try {
      const { image, identity } = await this.#images.readInside(of, part)
      if (identity !== undefined) return identity
      if (image.type === 'mstack') throw systemError(os.errno.EOPNOTSUPP, 'metadata')
      return await this.#dissector.read(image.path)
    } catch (error) {
      throw error instanceof ExplainedError ? error : explain('Failed to read image metadata', error)
    }
  }
}

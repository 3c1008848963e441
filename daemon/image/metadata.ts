import { constants as os } from 'node:os'
import { explain, ExplainedError, systemError } from '../base/errors.ts'
import type { SystemIdentity } from '../linux/jobs-system-identity.ts'
import type { NamespaceWorkers } from '../linux/namespace-workers.ts'
import { PidRef } from '../linux/process.ts'
import { Dissector } from './dissect.ts'
import type { Image } from './image.ts'
import type { Images } from './images.ts'

/** Reads what is in images (spec/dbus.md 8.8). */
export class MetadataReader {
  readonly #images: Images
  readonly #workers: NamespaceWorkers
  readonly #dissector = new Dissector()
  /** Directories are read in the host's name space, by the workers that read those of machines. */
  readonly #self = PidRef.pin(process.pid)
  /** What the workers take for a machine: those of images that hang can take no more threads than those of one machine. */
  readonly #key = {}

  constructor(images: Images, workers: NamespaceWorkers) {
    this.#images = images
    this.#workers = workers
  }

  /**
   * What the system in an image says of itself. Throws an explained error: EBUSY while the image is in use, EOPNOTSUPP for a
   * mount stack, ETIMEDOUT, EBUSY for a file system that does not answer, and for disk images what Dissector.read() throws.
   */
  async read(image: Image): Promise<SystemIdentity> {
    try {
      await this.#images.requireUnused(image)
      switch (image.type) {
        case 'directory':
        case 'subvolume':
          return await this.#workers.run(this.#key, { leader: this.#self }, 'readSystemIdentity', image.path)
        case 'raw':
        case 'block':
          return await this.#dissector.read(image.path)
        case 'mstack':
          throw systemError(os.errno.EOPNOTSUPP, 'metadata')
      }
    } catch (error) {
      throw error instanceof ExplainedError ? error : explain('Failed to read image metadata', error)
    }
  }
}

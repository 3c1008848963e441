import { extname } from 'node:path'
import { explain, isSystemError, MachinedError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import type { Operation, OperationKind, Operations } from '../base/operations.ts'
import { SharedWork } from '../base/shared-work.ts'
import { UNLIMITED } from '../linux/btrfs-quota.ts'
import { CopyControl } from '../linux/copy-control.ts'
import { type JobOptions, JobThreads } from '../linux/job-threads.ts'
import { type Image, isHidden, isHost, isValidImageName, isVendor } from './image.ts'
import type { ImageJobs } from './image-thread.ts'
import { findLeftovers } from './leftovers.ts'
import type { ImagePlaces } from './places.ts'
import type { PoolSize } from './pool.ts'

/** Failures that say all there is to say. */
const EXPECTED: readonly string[] = ['EBUSY', 'EEXIST', 'EROFS', 'EOPNOTSUPP', 'ENOTSUP', 'ECANCELED']

/** How long what takes but a moment may take; callers wait for 25 s, if nobody tells them otherwise. */
const MOMENT_MS = 20_000
/** How long an operation may go without progress, as it does while a file system is busy with one great file. */
const STILL_MS = 60_000

/** Which images cleaning is about. */
export type CleanMode = 'hidden' | 'all'

/** An image that was removed, and how many bytes it alone took. */
export interface Removed {
  readonly name: string
  readonly usageExclusive: bigint
}

/** Where images are looked up. */
export interface ImageSource {
  readonly places: ImagePlaces
  list(): Promise<readonly Image[]>
}

/** Is told that an image has another name, or none any more. */
export type ImageFollower = (name: string, newName: string | undefined) => void

/** Throws InvalidArgs for a name that no image can have. */
export function checkNewName(name: string): void {
  if (!isValidImageName(name)) throw new MachinedError('InvalidArgs', `Image name '${name}' is invalid.`)
}

/** Reads the mode of cleaning. Throws InvalidArgs for a word that is none. */
export function parseCleanMode(mode: string): CleanMode {
  if (mode === 'hidden' || mode === 'all') return mode
  throw new MachinedError('InvalidArgs', `Unknown mode '${mode}'.`)
}

/** What can be done to images (spec/dbus.md 8.8 to 8.11), each time in a thread of its own. All throw bare errnos unless said. */
export class ImageChanges {
  /** Called when an image has become another in a way that the kernel may tell nobody of. */
  onChange: () => void = () => undefined
  readonly #images: ImageSource
  readonly #operations: Operations
  readonly #threads = new JobThreads<ImageJobs>(new URL(`./image-thread${extname(import.meta.url)}`, import.meta.url))
  readonly #follow: ImageFollower
  readonly #poolSize = new SharedWork(() => this.#readPoolSize())

  constructor(images: ImageSource, operations: Operations, follow: ImageFollower = () => undefined) {
    this.#images = images
    this.#operations = operations
    this.#follow = follow
  }

  /** Throws LimitsExceeded while too much is under way for one more clone, removal or cleaning. */
  requirePlace(kind: OperationKind): void {
    this.#operations.requirePlace(kind)
  }

  /** Removes an image in the background; done when the promise is kept. Throws LimitsExceeded, EROFS, EBUSY, ECANCELED. */
  remove(image: Image): Promise<void> {
    return this.#operations.run('remove', image, (operation) => this.#remove(image, operation))
  }

  /** Makes a copy of an image in the background. Throws LimitsExceeded, InvalidArgs, EEXIST, EBUSY, ECANCELED. */
  clone(image: Image, newName: string, readOnly: boolean): Promise<void> {
    checkNewName(newName)
    return this.#operations.run('clone', image, async (operation) => {
      const { places } = this.#images
      const control = controlOf(operation)
      const request = { image, places, newName, readOnly, control: control.shared }
      const work = this.#threads.run('cloneImage', request, optionsOf(image, operation, control))
      complain(image, await this.#do(image, 'Failed to clone', work, control))
    })
  }

  /** Renames an image. Throws InvalidArgs, and explained EROFS, EBUSY, EEXIST. */
  async rename(image: Image, newName: string): Promise<void> {
    checkNewName(newName)
    const { places } = this.#images
    try {
      complain(image, await this.#threads.run('renameImage', { image, places, newName }, momentFor(image)))
    } catch (error) {
      throw explain('Failed to rename image', error)
    }
    this.#follow(image.name, newName)
  }

  /** Makes an image read-only or writable. Throws EROFS, EBUSY, EOPNOTSUPP. */
  async setReadOnly(image: Image, readOnly: boolean): Promise<void> {
    await this.#threads.run('setReadOnly', { image, places: this.#images.places, readOnly }, momentFor(image))
    this.onChange()
  }

  /** Limits the bytes that an image may take (image/pool.ts). Throws EROFS, EOPNOTSUPP. */
  async setLimit(image: Image, limit: bigint): Promise<void> {
    await this.#threads.run('setImageLimit', { image, places: this.#images.places, limit }, momentFor(image))
    this.onChange()
  }

  /** Limits the bytes that the pool may take (image/pool.ts). Throws NotSupported, others explained. */
  async setPoolLimit(limit: bigint): Promise<void> {
    const { places } = this.#images
    const patience = { ms: MOMENT_MS, subject: places.pool }
    await this.#threads.run('setPoolLimit', { places, limit }, { patience })
  }

  /** What the pool takes and may take; UNLIMITED also where the file system does not answer. */
  poolSize(): Promise<PoolSize> {
    return this.#poolSize.run()
  }

  /**
   * Removes images in the background, those in use excepted. Tells of each when it is gone, and gives all in the end. Throws
   * the first failure, explained; what was removed before stays so.
   */
  clean(mode: CleanMode, tell: (removed: Removed) => void = () => undefined): Promise<Removed[]> {
    return this.#operations.run('clean', undefined, async (operation) => {
      const control = controlOf(operation)
      const removed: Removed[] = []
      for (const image of await this.#images.list()) {
        if (isVendor(image) || isHost(image) || (mode === 'hidden' && !isHidden(image))) continue
        if (!(await this.#removeUnlessBusy(image, operation, control))) continue
        removed.push(image)
        tell(image)
      }
      return removed
    })
  }

  /** Removes what an earlier daemon left of clones and removals that it did not end. */
  async removeLeftovers(): Promise<void> {
    const paths = await findLeftovers(this.#images.places.search)
    if (paths.length === 0) return
    try {
      for (const path of await this.#threads.run('removeLeftovers', paths))
        log.info(`Removed ${path}, left by an interrupted operation`)
    } catch (error) {
      log.warn({ err: error }, 'Failed to remove what interrupted operations left')
    }
  }

  /** Ends the threads that have no work. */
  close(): void {
    this.#threads.close()
  }

  async #readPoolSize(): Promise<PoolSize> {
    const { places } = this.#images
    const patience = { ms: MOMENT_MS, subject: places.pool }
    try {
      return await this.#threads.run('readPoolSize', places, { patience })
    } catch (error) {
      if (!isSystemError(error)) throw error
      return { usage: UNLIMITED, limit: UNLIMITED }
    }
  }

  async #removeUnlessBusy(image: Image, operation: Operation, control: CopyControl): Promise<boolean> {
    try {
      operation.signal.throwIfAborted()
      await this.#remove(image, operation, control)
      return true
    } catch (error) {
      if (isSystemError(error) && error.code === 'EBUSY') return false
      throw explain(`Failed to remove image '${image.name}'`, error)
    }
  }

  async #remove(image: Image, operation: Operation, control = controlOf(operation)): Promise<void> {
    const request = { image, places: this.#images.places, control: control.shared }
    const work = this.#threads.run('removeImage', request, optionsOf(image, operation, control))
    complain(image, await this.#do(image, 'Failed to remove', work, control))
    this.#follow(image.name, undefined)
  }

  /** The caller learns only an errno; which file it was about is in the log. */
  async #do<T>(image: Image, what: string, work: Promise<T>, control: CopyControl): Promise<T> {
    try {
      return await work
    } catch (error) {
      // One that hangs may come back.
      if (isSystemError(error) && error.code === 'ETIMEDOUT') control.cancel()
      if (isSystemError(error) && !EXPECTED.includes(error.code))
        log.info({ err: error }, `${what} image ${image.name}`)
      throw error
    }
  }
}

/** For what changes an image at once. */
function momentFor({ entry }: Image): JobOptions {
  return { patience: { ms: MOMENT_MS, subject: entry } }
}

/** For what takes long. */
function optionsOf({ entry }: Image, { moved }: Operation, control: CopyControl): JobOptions {
  const progress = (): number => control.progress.bytes + control.progress.files
  return { moved, patience: { ms: STILL_MS, subject: entry, progress } }
}

/** Ties what the thread looks at and reports to the operation. */
function controlOf(operation: Operation): CopyControl {
  const control = new CopyControl()
  operation.signal.addEventListener('abort', () => {
    control.cancel()
  })
  operation.reportFrom(() => control.progress)
  return control
}

function complain({ name }: Image, complaints: readonly string[]): void {
  for (const text of complaints) log.debug(`Side file of image ${name}: ${text}`)
}

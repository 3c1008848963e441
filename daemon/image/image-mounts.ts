import { extname } from 'node:path'
import { explain, MachinedError } from '../base/errors.ts'
import { runCommand } from '../linux/command.ts'
import type { HeldLock } from '../linux/file-lock.ts'
import { JobThreads } from '../linux/job-threads.ts'
import { isHost, type Image } from './image.ts'
import type { ImageJobs } from './image-thread.ts'
import type { ImagePlaces } from './places.ts'

/** How an image is to be mounted. */
export interface ImageMountOptions {
  readonly readOnly: boolean
  /** A directory with what the host has mounted in it. */
  readonly recursive: boolean
}

/** Where images are looked up. */
export interface ImageFinder {
  readonly places: ImagePlaces
  find(name: string): Promise<Image | undefined>
}

/** Checking a big file system that was not unmounted in order takes its time. */
const DEADLINE_MS = 120_000
const OUTPUT_LIMIT = 1024 * 1024

/**
 * Mounts images on the host. A disk image is locked while it is mounted, as two that write to its blocks would destroy it:
 * nothing is started from it meanwhile.
 */
export class ImageMounts {
  readonly #images: ImageFinder
  readonly #threads = new JobThreads<ImageJobs>(new URL(`./image-thread${extname(import.meta.url)}`, import.meta.url))
  readonly #locks = new Map<string, readonly HeldLock[]>()

  constructor(images: ImageFinder) {
    this.#images = images
  }

  /** The image of a name; undefined when there is none. */
  find(name: string): Promise<Image | undefined> {
    return this.#images.find(name)
  }

  /**
   * Mounts an image at a directory that has nothing mounted on it; if it fails, something may be. Which partitions of a
   * disk image belong where is for `systemd-dissect` to say. Throws NotSupported for the host and for a stack of
   * mounts, EBUSY for a disk image in use, Failed with what that program says.
   */
  async mount(image: Image, point: string, options: ImageMountOptions): Promise<void> {
    if (image.type === 'mstack' || isHost(image)) {
      throw new MachinedError('NotSupported', `Image '${image.name}' cannot be mounted.`)
    }
    const readOnly = options.readOnly || image.readOnly
    if (!isDisk(image)) {
      await this.#threads.run('mountDirectory', { ...options, readOnly, source: image.path, point })
      return
    }
    await this.#hold(image, readOnly)
    await dissect(image, point, readOnly)
    await this.#threads.run('confineMount', point)
  }

  /** Locks an image that an earlier daemon has mounted. */
  async holdAgain(name: string, readOnly: boolean): Promise<void> {
    const image = await this.find(name)
    if (image !== undefined && isDisk(image)) await this.#hold(image, readOnly)
  }

  /** Lets others have the image again. */
  async release(name: string): Promise<void> {
    const locks = this.#locks.get(name)
    this.#locks.delete(name)
    if (locks !== undefined) await this.#threads.run('releaseLocks', locks)
  }

  async #hold({ name, path }: Image, readOnly: boolean): Promise<void> {
    await this.release(name)
    try {
      const kind = readOnly ? 'shared' : 'exclusive'
      this.#locks.set(name, await this.#threads.run('holdImage', { path, kind, places: this.#images.places }))
    } catch (error) {
      throw explain(`Image '${name}' is in use`, error)
    }
  }
}

function isDisk({ type }: Image): boolean {
  return type === 'raw' || type === 'block'
}

async function dissect({ path }: Image, point: string, readOnly: boolean): Promise<void> {
  const args = ['--mount', ...(readOnly ? ['--read-only'] : []), '--', path, point]
  const result = await runCommand('systemd-dissect', args, { deadlineMs: DEADLINE_MS, limit: OUTPUT_LIMIT })
  if (result.exitCode === 0) return
  const said = result.stderr.trim().split('\n').at(-1) ?? ''
  throw new MachinedError('Failed', said === '' ? `systemd-dissect failed on ${path}` : said)
}

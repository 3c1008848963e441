import { MachinedError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import type { Image } from '../image/image.ts'
import type { ImageMounts } from '../image/image-mounts.ts'
import type { NamespaceWorkers } from '../linux/namespace-workers.ts'
import type { Machine } from './machine.ts'
import type { Machines } from './machines.ts'
import type { MountDirectory, RootMount } from './mount-directory.ts'
import { mountRootOf, type MountOptions } from './mount-root.ts'
import { detach, refuseInUse } from './unmount.ts'

/** What it takes to mount and unmount. */
interface Means {
  readonly machines: Machines
  readonly images: ImageMounts
  readonly workers: NamespaceWorkers
  readonly directory: MountDirectory
}

/** The roots of machines and images that are mounted on the host. */
export class RootMounts {
  readonly #machines: Machines
  readonly #images: ImageMounts
  readonly #workers: NamespaceWorkers
  readonly #directory: MountDirectory
  /** The last thing to be done to each name: one after the other. */
  readonly #turns = new Map<string, Promise<unknown>>()

  constructor({ machines, images, workers, directory }: Means) {
    this.#machines = machines
    this.#images = images
    this.#workers = workers
    this.#directory = directory
    machines.on('removed', ({ name }) => {
      // Mostly nothing is mounted, nor about to be.
      if (this.#turns.has(name) || directory.hasLeader(name)) void this.#inTurn(name, () => this.#dropOf(name))
    })
  }

  list(): RootMount[] {
    return this.#directory.list()
  }

  /**
   * Mounts the root of a machine, or the image of that name if there is no such machine, on the host and gives the mount
   * point, which is the same when it was mounted already. Throws NoSuchMachine; FileExists when what is mounted already
   * could be written to and must not; and as mountRootOf and ImageMounts.mount.
   */
  mount(name: string, options: MountOptions): Promise<string> {
    return this.#inTurn(name, async () => {
      const present = this.#directory.find(name)
      if (present !== undefined) return reuse(present, options)
      const machine = this.#machines.find(name)
      if (machine !== undefined) return await this.#mount(machine, options)
      const image = await this.#images.find(name)
      if (image !== undefined) return await this.#mountImage(image, options)
      throw new MachinedError('NoSuchMachine', `No machine or image '${name}' known`)
    })
  }

  /** Takes a mount away, also one in use if it is `lazy`. Throws FileNotFound when there is none; InUseError. */
  unmount(name: string, { lazy }: { lazy: boolean }): Promise<void> {
    return this.#inTurn(name, async () => {
      const present = this.#directory.find(name)
      if (present === undefined) {
        // Somebody may have unmounted it by hand.
        await this.#images.release(name)
        throw new MachinedError('FileNotFound', `'${name}' is not mounted.`)
      }
      if (!lazy) await refuseInUse(present.mountPoint, this.#workers)
      await this.#drop(present)
    })
  }

  /** Takes away what is left of machines that went while no daemon ran, and locks images that are mounted. Never throws. */
  async recover(): Promise<void> {
    const led = this.#directory.led()
    const others = this.list().filter(({ name }) => !led.includes(name))
    await Promise.all([
      ...led.map((name) => this.#inTurn(name, () => this.#dropOf(name))),
      ...others.map((mount) => this.#inTurn(mount.name, () => this.#holdAgain(mount)))
    ])
  }

  async #mount(machine: Machine, options: MountOptions): Promise<string> {
    const point = await mountRootOf(machine, options, { workers: this.#workers, directory: this.#directory })
    log.info({ NAME: machine.name }, `Mounted the root directory of machine ${machine.name} on ${point}.`)
    return point
  }

  async #mountImage(image: Image, options: MountOptions): Promise<string> {
    const { name } = image
    const point = this.#directory.makePoint(name)
    try {
      await this.#images.mount(image, point, options)
    } catch (error) {
      await this.#takeAway({ name, mountPoint: point })
      throw error
    }
    log.info(`Mounted image ${name} on ${point}.`)
    return point
  }

  async #drop(mount: RootMount): Promise<void> {
    await this.#takeAway(mount)
    log.info({ NAME: mount.name }, `Unmounted ${mount.mountPoint}.`)
  }

  async #takeAway({ name, mountPoint }: Pick<RootMount, 'name' | 'mountPoint'>): Promise<void> {
    await detach(mountPoint, this.#workers)
    this.#directory.removePoint(name)
    await this.#images.release(name)
  }

  async #holdAgain({ name, readOnly }: RootMount): Promise<void> {
    try {
      await this.#images.holdAgain(name, readOnly)
    } catch (error) {
      log.warn({ err: error }, `Failed to lock image ${name}, which is mounted`)
    }
  }

  /** Drops a mount if its machine is not there any more. */
  async #dropOf(name: string): Promise<void> {
    try {
      const leader = this.#machines.find(name)?.registration.leader
      if (!this.#directory.hasLeader(name)) return
      if (leader !== undefined && this.#directory.isLedBy(name, leader)) return
      const present = this.#directory.find(name)
      if (present === undefined) this.#directory.removePoint(name)
      else await this.#drop(present)
    } catch (error) {
      log.warn({ NAME: name, err: error }, `Failed to unmount the root directory of machine ${name}`)
    }
  }

  #inTurn<T>(name: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#turns.get(name) ?? Promise.resolve()).then(work, work)
    this.#turns.set(name, turn)
    const forget = (): void => {
      if (this.#turns.get(name) === turn) this.#turns.delete(name)
    }
    turn.then(forget, forget)
    return turn
  }
}

/** What is mounted already is as good as new, unless it can be written to and must not. */
function reuse({ name, mountPoint, readOnly }: RootMount, wanted: MountOptions): string {
  if (readOnly || !wanted.readOnly) return mountPoint
  throw new MachinedError('FileExists', `'${name}' is mounted already, and not read-only.`)
}

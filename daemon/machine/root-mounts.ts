import { MachinedError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import type { NamespaceWorkers } from '../linux/namespace-workers.ts'
import type { Machine } from './machine.ts'
import type { Machines } from './machines.ts'
import { MountDirectory, type RootMount } from './mount-directory.ts'
import { mountRootOf, type MountOptions } from './mount-root.ts'
import { detach, refuseInUse } from './unmount.ts'

/** The roots of machines that are mounted on the host. */
export class RootMounts {
  readonly #machines: Machines
  readonly #workers: NamespaceWorkers
  readonly #directory: MountDirectory
  /** The last thing to be done to each name: one after the other. */
  readonly #turns = new Map<string, Promise<unknown>>()

  constructor(machines: Machines, workers: NamespaceWorkers, directory: MountDirectory) {
    this.#machines = machines
    this.#workers = workers
    this.#directory = directory
    machines.on('removed', ({ name }) => {
      void this.#inTurn(name, () => this.#dropOf(name))
    })
  }

  list(): RootMount[] {
    return this.#directory.list()
  }

  /**
   * Mounts the root of a machine on the host and gives the mount point, which is the same when it was mounted already.
   * Throws NoSuchMachine; FileExists when what is mounted already could be written to and must not; and as mountRootOf.
   */
  mount(name: string, options: MountOptions): Promise<string> {
    return this.#inTurn(name, async () => {
      const machine = this.#machines.get(name)
      const present = this.#directory.find(name)
      if (present === undefined) return await this.#mount(machine, options)
      if (present.readOnly || !options.readOnly) return present.mountPoint
      throw new MachinedError('FileExists', `'${name}' is mounted already, and not read-only.`)
    })
  }

  /** Takes a mount away, also one in use if it is `lazy`. Throws FileNotFound when there is none; EBUSY that says who uses it. */
  unmount(name: string, { lazy }: { lazy: boolean }): Promise<void> {
    return this.#inTurn(name, async () => {
      const present = this.#directory.find(name)
      if (present === undefined) throw new MachinedError('FileNotFound', `'${name}' is not mounted.`)
      if (!lazy) await refuseInUse(present.mountPoint, this.#workers)
      await this.#drop(present)
    })
  }

  /** Takes away what is left of machines that went while no daemon ran. Never throws. */
  async recover(): Promise<void> {
    await Promise.all(this.#directory.led().map((name) => this.#inTurn(name, () => this.#dropOf(name))))
  }

  async #mount(machine: Machine, options: MountOptions): Promise<string> {
    const point = await mountRootOf(machine, options, { workers: this.#workers, directory: this.#directory })
    log.info({ NAME: machine.name }, `Mounted the root directory of machine ${machine.name} on ${point}.`)
    return point
  }

  async #drop({ name, mountPoint }: RootMount): Promise<void> {
    await detach(mountPoint, this.#workers)
    this.#directory.removePoint(name)
    log.info({ NAME: name }, `Unmounted ${mountPoint}.`)
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

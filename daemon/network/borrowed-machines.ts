import { log } from '../base/log.ts'
import { networkOf, type Prefix } from '../base/prefix.ts'
import type { NetworkNamespace } from '../linux/namespace.ts'
import { BorrowedMachine, type BorrowedPlace } from './borrowed-machine.ts'
import type { HostSettings } from './host-settings.ts'
import type { HostSocket } from './host-socket.ts'

/** What they are followed with. */
export interface BorrowedMachinesContext {
  readonly host: HostSocket
  readonly own: NetworkNamespace
  readonly settings: HostSettings
  readonly config: { readonly localhostForward: boolean }
}

/** An interface of others that leads to machines, with the networks there. */
export interface BorrowedWay {
  readonly interfaceName: string
  readonly subnets: readonly Prefix[]
}

/** The machines whose links others see to. */
export class BorrowedMachines {
  readonly #context: BorrowedMachinesContext
  readonly #machines = new Map<string, BorrowedMachine>()

  constructor(context: BorrowedMachinesContext) {
    this.#context = context
  }

  has(name: string): boolean {
    return this.#machines.has(name)
  }

  names(): string[] {
    return [...this.#machines.keys()]
  }

  /** Where forwards lead, by the names of machines. */
  leases(): [string, BorrowedMachine['lease']][] {
    return Array.from(this.#machines, ([name, { lease }]) => [name, lease])
  }

  /** What the rules have to know. */
  ways(): BorrowedWay[] {
    return Array.from(this.#machines.values(), ({ place, subnets }) => ({
      interfaceName: place.way.name,
      subnets: subnets.map(networkOf)
    }))
  }

  /** Takes a machine in; `changed` is called when its addresses may have changed. Throws what the kernel says. */
  add(place: BorrowedPlace, changed: () => void): void {
    const { own, settings, config } = this.#context
    this.#machines.set(place.name, new BorrowedMachine(place, own, changed))
    if (config.localhostForward) settings.routeLocalhost(place.way.name)
  }

  /** Forgets a machine, and gives it back. */
  remove(name: string): BorrowedMachine | undefined {
    const machine = this.#machines.get(name)
    if (machine === undefined) return undefined
    machine.close()
    this.#machines.delete(name)
    const { way } = machine.place
    const isUsed = [...this.#machines.values()].some((other) => other.place.way.index === way.index)
    if (!isUsed) this.#context.settings.forget(way.name, true)
    return machine
  }

  /** Finds out anew which addresses a machine has; whether they are other ones. Throws what the kernel says. */
  look(name: string): boolean {
    return this.#machines.get(name)?.look(this.#context.host.requests) === true
  }

  /** The same for all. What fails is logged. */
  lookAtAll(): void {
    for (const [name, machine] of this.#machines) {
      try {
        machine.look(this.#context.host.requests)
      } catch (error) {
        log.debug({ NAME: name, err: error }, `Failed to look at the addresses of machine ${name}`)
      }
    }
  }
}

import { setImmediate } from 'node:timers/promises'
import { MachinedError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import type { Prefix } from '../base/prefix.ts'
import { ConflictWatch } from './conflict-watch.ts'
import type { Forwards } from './forwards.ts'
import type { BorrowedMachines } from './borrowed-machines.ts'
import type { HostSettings } from './host-settings.ts'
import type { HostSocket } from './host-socket.ts'
import type { KnownNetworks } from './known-networks.ts'
import type { Lease } from './leases.ts'
import type { LinkManagers } from './link-managers.ts'
import type { NetworkConfig } from './network-config.ts'
import type { Network } from './network.ts'
import { removeOrphans } from './bridge.ts'
import type { OtherFirewalls } from './other-firewalls.ts'
import { Rules, type RulesState } from './rules.ts'
import { Upkeep } from './upkeep.ts'

/** What all networks have in common is made from. */
export interface CommonsContext {
  readonly config: NetworkConfig
  readonly known: KnownNetworks
  readonly borrowed: BorrowedMachines
  readonly settings: HostSettings
  readonly host: HostSocket
  readonly managers: LinkManagers
  readonly firewalls: OtherFirewalls
  readonly forwards: () => Forwards
  /** Where the rules are kept that were applied last. */
  readonly runtimeDirectory: string
}

/** What all networks have in common: rules, what others on the host are told, and that all stays as it was made. */
export class Commons {
  readonly #context: CommonsContext
  readonly #rules: Rules
  readonly #upkeep: Upkeep
  #conflicts: ConflictWatch | undefined
  #isBegun = false
  /** Rules are for all machines, so they are made only when all are known that an earlier daemon left. */
  #complete: Promise<unknown> = Promise.resolve()

  constructor(context: CommonsContext) {
    this.#context = context
    this.#upkeep = new Upkeep((hasLost) => {
      if (hasLost) context.firewalls.renew()
      void this.hold()
    })
    this.#rules = new Rules(context.runtimeDirectory, context.config, context.firewalls, this.#upkeep.lost)
  }

  /** There are machines, and one in this network: sees to it from now on that everything stays as it was made. */
  begin(network?: Network): void {
    this.#isBegun = true
    this.#upkeep.begin()
    if (this.#conflicts === undefined) this.#conflicts = this.#watchConflicts()
    else if (network?.links.attached.size === 1) network.checkConflict()
  }

  /** Runs what brings several machines one by one; others are answered in between, and the rules wait for the last one. */
  async bringTogether(steps: readonly (() => Promise<void>)[]): Promise<void> {
    let completed: () => void = () => undefined
    this.#complete = new Promise<void>((resolve) => (completed = resolve))
    const running: Promise<void>[] = []
    for (const step of steps) {
      running.push(step())
      await setImmediate()
    }
    completed()
    await Promise.all(running)
  }

  /** Makes rules, and what others are told, those of the networks as they are now. Rejects with what nft says. */
  async update(): Promise<void> {
    await this.#complete
    // A machine that was the last one may have taken all down since.
    if (!this.#isBegun) return
    await Promise.all([this.#rules.apply(() => this.#firewallState()), this.#tellManagers()])
  }

  /** Makes everything what it was made, as far as it is on the host. What fails is logged. */
  async hold(): Promise<void> {
    try {
      this.#holdLinks()
      this.#context.borrowed.lookAtAll()
      if (this.#conflicts !== undefined) this.#checkConflicts()
      await this.update()
      await this.#rules.repair()
    } catch (error) {
      log.warn({ err: error }, 'Failed to hold the networks of machines')
    }
  }

  /** Ends what leads to a machine that is over. */
  forget(machine: string, lease: Pick<Lease, 'ip4' | 'ip6'>): void {
    this.#rules.forget(machine, lease)
  }

  /**
   * Takes all down: rules, what others were told, and what is left of networks. Throws Failed while machines use a
   * network.
   */
  async takeDown(): Promise<void> {
    if (this.#isUsed()) throw new MachinedError('Failed', 'Machines are using the network')
    this.#isBegun = false
    this.#upkeep.end()
    this.#conflicts?.close()
    this.#conflicts = undefined
    const { known, settings, host } = this.#context
    await Promise.all([this.#rules.remove(known.ownBridges()), this.#tellManagers()])
    // A machine may have come meanwhile.
    if (this.#isUsed()) return
    for (const network of known.inUse()) network.remove()
    // A host without machines is not looked through at each start.
    if (known.hasBridge()) this.#removeOrphans(new Set())
    settings.forgetAll()
    host.close()
  }

  #isUsed(): boolean {
    return this.#withMachines().length > 0 || this.#context.borrowed.names().length > 0
  }

  /** Takes away all links that are tagged as ours, but for these. */
  #removeOrphans(kept: ReadonlySet<number>): void {
    const { host, known } = this.#context
    removeOrphans(host.requests, kept, (zone) => {
      known.at(zone)?.links.remove()
    })
  }

  #holdLinks(): void {
    const kept: number[] = []
    for (const network of this.#context.known.inUse()) {
      try {
        network.links.hold()
      } catch (error) {
        log.warn({ err: error }, `Failed to hold network '${network.identity.name}'`)
      }
      kept.push(...network.links.indexes())
    }
    this.#removeOrphans(new Set(kept))
  }

  #watchConflicts(): ConflictWatch {
    const check = (): void => {
      this.#checkConflicts()
    }
    check()
    const subnets = (): Prefix[] => this.#context.known.inUse().flatMap((network) => network.subnets())
    return new ConflictWatch({ subnets, check, lost: this.#upkeep.lost })
  }

  #checkConflicts(): void {
    for (const network of this.#context.known.inUse()) network.checkConflict()
  }

  async #tellManagers(): Promise<void> {
    const networks = this.#withMachines()
    const bridges = networks.map(({ identity }) => identity.bridge)
    const ports = networks.flatMap(({ links }) => Array.from(links.attached.values(), ({ port }) => port.name))
    await this.#context.managers.leaveAlone(bridges, ports)
  }

  #firewallState(): RulesState {
    const { known, borrowed, forwards } = this.#context
    const networks = known.inUse()
    const own = networks.flatMap(({ links }) =>
      Array.from(links.attached, ([name, { lease }]) => [name, lease] as const)
    )
    return {
      networks: networks.map((network) => network.firewallState()),
      borrowed: borrowed.ways(),
      forwards: forwards().active(new Map([...own, ...borrowed.leases()]))
    }
  }

  #withMachines(): Network[] {
    return this.#context.known.inUse().filter(({ links }) => links.attached.size > 0)
  }
}

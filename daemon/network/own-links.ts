import { setImmediate } from 'node:timers/promises'
import { explain } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { Rollback } from '../base/rollback.ts'
import type { NetworkNamespace } from '../linux/namespace.ts'
import type { Commons } from './commons.ts'
import type { Forward } from './firewall-state.ts'
import type { Forwards } from './forwards.ts'
import type { HostSocket } from './host-socket.ts'
import type { KnownNetworks } from './known-networks.ts'
import type { LinkManagers } from './link-managers.ts'
import type { Attachment, Links } from './links.ts'
import type { NetworkMember } from './member.ts'
import type { NetworkConfig } from './network-config.ts'
import type { Network } from './network.ts'
import { placeMachine, type Placement } from './placement.ts'

/** What is configured for a machine: its network, undefined for the default one, and its port forwards. */
export interface MemberConfig {
  readonly network: string | undefined
  readonly forwards: readonly Forward[]
}

/** Whoever brings machines to networks, or leaves that to others, is made with this. */
export interface MemberLinksContext {
  readonly config: NetworkConfig
  readonly own: NetworkNamespace
  readonly host: HostSocket
  readonly known: KnownNetworks
  readonly managers: LinkManagers
  readonly commons: Commons
  readonly forwards: () => Forwards
  readonly configured: (machine: string) => MemberConfig
}

/** The links of machines, whoever sees to them (Backend=). */
export interface MemberLinks {
  /**
   * Gives a machine its network, if that is ours to do: done when this returns, so that the machine finds it when it
   * starts. Whatever fails is logged, and the machine goes without. Throws only with RequireNetwork=yes.
   */
  readonly attach: (member: NetworkMember) => Promise<void>
  /** Takes a machine's network away. What of it is in the machine goes with it. */
  readonly detach: (name: string) => Promise<void>
  /** The names of machines that have a network. */
  readonly names: () => string[]
  /** A machine has other forwards. */
  readonly forwardsChanged: (name: string) => Promise<void>
}

/** The links of machines that we see to ourselves. */
export class OwnLinks implements MemberLinks {
  readonly #context: MemberLinksContext

  constructor(context: MemberLinksContext) {
    this.#context = context
  }

  async attach(member: NetworkMember): Promise<void> {
    let { requireNetwork } = this.#context.config
    // Read at most once, and only for a machine that starts.
    let found: MemberConfig | undefined
    const configured = (): MemberConfig => (found ??= this.#context.configured(member.name))
    try {
      const placement = this.#find(member, configured)
      if (placement === undefined) return
      ;({ requireNetwork } = placement.network.config)
      await this.#attach(placement, configured)
    } catch (error) {
      const failure = `Failed to set up the network of machine ${member.name}`
      log.warn({ NAME: member.name, err: error }, failure)
      if (requireNetwork) throw explain(failure, error)
    }
  }

  async detach(name: string): Promise<void> {
    const { known, commons, forwards } = this.#context
    const network = known.of(name)
    const attachment = network?.links.attached.get(name)
    if (network === undefined || attachment === undefined) return
    const hadForwards = forwards().of(name).length > 0
    forwards().release(name)
    try {
      network.links.disconnect(attachment)
      await this.#afterwards(network)
      if (hadForwards) commons.forget(name, attachment.lease)
    } catch (error) {
      log.warn({ NAME: name, err: error }, `Failed to take down the network of machine ${name}`)
    }
  }

  names(): string[] {
    return this.#context.known.inUse().flatMap(({ links }) => [...links.attached.keys()])
  }

  async forwardsChanged(name: string): Promise<void> {
    const links = this.#context.known.of(name)?.links
    const attachment = links?.attached.get(name)
    if (links === undefined || attachment === undefined) return
    this.#tune(links, attachment)
    await this.#context.commons.update()
  }

  #find(member: NetworkMember, configured: () => MemberConfig): Placement | undefined {
    if (this.#context.config.manage === 'no') return undefined
    const placement = placeMachine(member, { ...this.#context, networkName: () => configured().network })
    if (typeof placement !== 'string') return placement
    log.debug({ NAME: member.name }, `Machine ${member.name} gets no network: ${placement}`)
    return undefined
  }

  async #attach({ network, ends }: Placement, configured: () => MemberConfig): Promise<void> {
    const { name } = ends
    const { commons, forwards } = this.#context
    const rollback = new Rollback()
    try {
      rollback.add(() => this.detach(name))
      const isNew = !network.links.attached.has(name)
      const attachment = network.admit(ends)
      if (isNew) forwards().configure(name, configured().forwards)
      commons.begin(network)
      await Promise.all([commons.update(), this.#connect(network, attachment)])
    } catch (error) {
      await rollback.undo()
      throw error
    }
  }

  async #connect({ links }: Network, attachment: Attachment): Promise<void> {
    // Others see to the rules meanwhile, and they begin first.
    await setImmediate()
    if (links.attached.get(attachment.name) !== attachment) return
    links.connect(attachment)
    this.#tune(links, attachment)
    await links.address(attachment)
  }

  #tune(links: Links, attachment: Attachment): void {
    links.tune(attachment, this.#context.forwards().of(attachment.name).length > 0)
  }

  /** Sees to what is left when a machine has gone. The bridge of a zone is not ours to keep. */
  async #afterwards(network: Network): Promise<void> {
    const isOver = network.links.attached.size === 0
    if (isOver && network.identity.isZone) return this.#remove(network)
    if (isOver) {
      network.linger(() => {
        this.#remove(network).catch((error: unknown) => {
          log.warn({ err: error }, `Failed to take down network '${network.identity.name}'`)
        })
      })
    }
    return this.#context.commons.update()
  }

  async #remove(network: Network): Promise<void> {
    const { known, commons } = this.#context
    if (known.inUse().every((other) => other === network)) return commons.takeDown()
    network.remove()
    return commons.update()
  }
}

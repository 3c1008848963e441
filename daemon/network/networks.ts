import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { explain, MachinedError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { Rollback } from '../base/rollback.ts'
import { Commons } from './commons.ts'
import type { Forward } from './firewall-state.ts'
import { Forwards } from './forwards.ts'
import { HostSettings } from './host-settings.ts'
import { HostSocket } from './host-socket.ts'
import { KnownNetworks, type KnownNetworksContext } from './known-networks.ts'
import type { Lease } from './leases.ts'
import { LinkManagers, type NetworkdView } from './link-managers.ts'
import type { Attachment, Links } from './links.ts'
import type { NetworkMember } from './member.ts'
import type { Network, NetworkView } from './network.ts'
import type { NetworkManager } from './network-manager.ts'
import type { OtherFirewalls } from './other-firewalls.ts'
import { placeMachine, type Placement } from './placement.ts'

/** What networks are made with. */
export interface NetworksContext extends Omit<KnownNetworksContext, 'host' | 'settings'> {
  readonly networkd: NetworkdView
  readonly networkManager: Pick<NetworkManager, 'leaveAlone'>
  readonly firewalls: OtherFirewalls
  /** What is configured for a machine: its network, undefined for the default one, and its port forwards. */
  readonly configured: (machine: string) => { network: string | undefined; forwards: readonly Forward[] }
  /** Where the rules are kept that were applied last. */
  readonly runtimeDirectory: string
}

/** What there is, for people and programs to look at. */
export interface NetworksDescription {
  readonly managed: boolean
  /** Whether systemd-networkd runs on the host. */
  readonly networkd: boolean
  readonly default: NetworkView
  readonly others: readonly NetworkView[]
}

/** A lease, and the network that it is in. */
export interface NetworkLease extends Lease {
  readonly network: string
}

/** The networks of machines: which machine is in which, and what is the same for all (networking.md 7). */
export class Networks {
  readonly #context: NetworksContext
  readonly #host = new HostSocket()
  readonly #settings = new HostSettings()
  readonly #managers: LinkManagers
  readonly #known: KnownNetworks
  readonly #commons: Commons
  #forwards: Forwards | undefined

  constructor(context: NetworksContext) {
    this.#context = context
    this.#managers = new LinkManagers(context.config, context.networkd, context.networkManager)
    this.#known = new KnownNetworks({ ...context, host: this.#host, settings: this.#settings })
    const forwards = (): Forwards => this.#allForwards()
    this.#commons = new Commons({
      ...context,
      host: this.#host,
      managers: this.#managers,
      known: this.#known,
      forwards
    })
  }

  /** The leases of all names that ever had a network. */
  leases(): NetworkLease[] {
    return this.#known
      .all()
      .flatMap(({ book, identity }) => book.list().map((lease) => ({ ...lease, network: identity.name })))
  }

  /**
   * Gives a name addresses in its network, at once where its machine runs; a family that is left out stays. Throws
   * NotSupported where networks are not ours to manage, FileNotFound where the network is not configured, and as
   * Leases.fix does.
   */
  async setLease(name: string, addresses: Pick<Lease, 'ip4' | 'ip6'>): Promise<void> {
    if (!this.#managers.leaveLinksToUs) {
      throw new MachinedError('NotSupported', 'The network of machines is managed by others')
    }
    const network = this.#known.of(name) ?? this.#known.named(this.#context.configured(name).network)
    await network.setLease(name, addresses)
    if (network.links.attached.has(name)) await this.#commons.update()
  }

  /** Takes leases to the new name of an image, or drops them where the image is no more; not while its machine runs. */
  followImage(name: string, newName: string | undefined): void {
    if (this.#context.config.manage === 'no') return
    for (const network of this.#known.all()) network.moveLease(name, newName)
  }

  forwards(): readonly Forward[] {
    return this.#allForwards().all()
  }

  /**
   * Adds a forward, in effect when this returns. Throws FileExists, naming the machine that has the port, NotSupported
   * where firewalld forbids it.
   */
  async addForward(forward: Forward): Promise<void> {
    await this.#context.firewalls.requireForwards()
    this.#allForwards().add(forward)
    await this.#forwardsChanged(forward.machine)
  }

  /** Takes a forward away; connections through it go on. Throws FileNotFound. */
  async removeForward(machine: string, listen: string): Promise<void> {
    this.#allForwards().remove(machine, listen)
    await this.#forwardsChanged(machine)
  }

  /** What there is, for people and programs to look at. */
  describe(): NetworksDescription {
    const managed = this.#managers.leaveLinksToUs
    const describe = (network: Network): NetworkView => network.describe(managed || network.isUp)
    const others = this.#known.others().map(describe)
    return { managed, networkd: this.#managers.hasNetworkd, default: describe(this.#known.default), others }
  }

  /**
   * Gives a machine its network, if that is ours to do: done when this returns, so that the machine finds it when it
   * starts. Whatever fails is logged, and the machine goes without. Throws only with RequireNetwork=yes.
   */
  async attach(member: NetworkMember): Promise<void> {
    let { requireNetwork } = this.#context.config
    try {
      const placement = this.#find(member)
      if (placement === undefined) return
      ;({ requireNetwork } = placement.network.config)
      await this.#attach(placement)
    } catch (error) {
      const failure = `Failed to set up the network of machine ${member.name}`
      log.warn({ NAME: member.name, err: error }, failure)
      if (requireNetwork) throw explain(failure, error)
    }
  }

  /** Takes a machine's network away. What of it is in the machine goes with it. */
  async detach(name: string): Promise<void> {
    const network = this.#known.of(name)
    const attachment = network?.links.attached.get(name)
    if (network === undefined || attachment === undefined) return
    const hadForwards = this.#allForwards().of(name).length > 0
    this.#allForwards().release(name)
    try {
      network.links.disconnect(attachment)
      await this.#afterwards(network)
      if (hadForwards) this.#commons.forget(name, attachment.lease)
    } catch (error) {
      log.warn({ NAME: name, err: error }, `Failed to take down the network of machine ${name}`)
    }
  }

  /**
   * Makes everything what it is to be for these machines, whatever an earlier daemon left or somebody else did: what
   * belongs to no machine is taken away (networking.md 7.11).
   */
  async reconcile(members: readonly NetworkMember[]): Promise<void> {
    const names = new Set(members.map(({ name }) => name))
    for (const name of this.#attached()) if (!names.has(name)) await this.detach(name)
    // What fails is logged, and the machines run already.
    await this.#commons.bringTogether(members.map((member) => () => this.attach(member).catch(() => undefined)))
    if (this.#attached().length === 0) await this.takeDown()
    else await this.#commons.hold()
  }

  /** Takes all down that belongs to no machine. Throws Failed while machines use a network. */
  async takeDown(): Promise<void> {
    if (this.#attached().length > 0) throw new MachinedError('Failed', 'Machines are using the network')
    await this.#commons.end()
    // A machine may have come meanwhile.
    if (this.#attached().length > 0) return
    for (const network of this.#known.inUse()) network.remove()
    // A host without machines is not looked through at each start.
    if (this.#known.hasBridge()) this.#commons.removeOrphans(new Set())
    this.#settings.forgetAll()
    this.#host.close()
  }

  #find(member: NetworkMember): Placement | undefined {
    const { config, own, configured } = this.#context
    if (config.manage === 'no') return undefined
    const networkOf = (machine: string): string | undefined => configured(machine).network
    const context = { own, networkOf, known: this.#known, managers: this.#managers, host: this.#host }
    const placement = placeMachine(member, context)
    if (typeof placement !== 'string') return placement
    log.debug({ NAME: member.name }, `Machine ${member.name} gets no network: ${placement}`)
    return undefined
  }

  async #attach({ network, ends }: Placement): Promise<void> {
    const { name } = ends
    const rollback = new Rollback()
    try {
      rollback.add(() => this.detach(name))
      const isNew = !network.links.attached.has(name)
      const attachment = network.admit(ends)
      if (isNew) this.#allForwards().configure(name, this.#context.configured(name).forwards)
      this.#commons.begin()
      await Promise.all([this.#commons.update(), this.#connect(network, attachment)])
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

  /** The names of machines that have a network. */
  #attached(): string[] {
    return this.#known.inUse().flatMap(({ links }) => [...links.attached.keys()])
  }

  #allForwards(): Forwards {
    return (this.#forwards ??= new Forwards(join(this.#context.runtimeDirectory, 'forwards.json')))
  }

  async #forwardsChanged(machine: string): Promise<void> {
    const links = this.#known.of(machine)?.links
    const attachment = links?.attached.get(machine)
    if (links === undefined || attachment === undefined) return
    this.#tune(links, attachment)
    await this.#commons.update()
  }

  #tune(links: Links, attachment: Attachment): void {
    links.tune(attachment, this.#allForwards().of(attachment.name).length > 0)
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
    return this.#commons.update()
  }

  async #remove(network: Network): Promise<void> {
    if (this.#known.inUse().every((other) => other === network)) return this.takeDown()
    network.remove()
    return this.#commons.update()
  }
}

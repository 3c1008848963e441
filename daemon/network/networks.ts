import { join } from 'node:path'
import { MachinedError } from '../base/errors.ts'
import { BorrowedLinks } from './borrowed-links.ts'
import { BorrowedMachines } from './borrowed-machines.ts'
import { Commons } from './commons.ts'
import type { Forward } from './firewall-state.ts'
import { Forwards } from './forwards.ts'
import { HostSettings } from './host-settings.ts'
import { HostSocket } from './host-socket.ts'
import { KnownNetworks, type KnownNetworksContext } from './known-networks.ts'
import type { Lease } from './leases.ts'
import { LinkManagers, type NetworkdView } from './link-managers.ts'
import type { NetworkMember } from './member.ts'
import type { Network, NetworkView } from './network.ts'
import type { NetworkConfig } from './network-config.ts'
import type { NetworkManager } from './network-manager.ts'
import type { OtherFirewalls } from './other-firewalls.ts'
import { OwnLinks, type MemberConfig, type MemberLinks } from './own-links.ts'

/** What networks are made with. */
export interface NetworksContext extends Omit<KnownNetworksContext, 'host' | 'settings'> {
  readonly networkd: NetworkdView
  readonly networkManager: Pick<NetworkManager, 'leaveAlone'>
  readonly firewalls: OtherFirewalls
  readonly configured: (machine: string) => MemberConfig
  /** Where the rules are kept that were applied last. */
  readonly runtimeDirectory: string
}

/** What there is, for people and programs to look at. */
export interface NetworksDescription {
  /** Who sees to links and addresses: `builtin` is us. */
  readonly backend: NetworkConfig['backend']
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
  readonly #managers: LinkManagers
  readonly #known: KnownNetworks
  readonly #commons: Commons
  readonly #links: MemberLinks
  #forwards: Forwards | undefined

  constructor(context: NetworksContext) {
    this.#context = context
    const shared = { ...context, host: new HostSocket(), settings: new HostSettings() }
    const forwards = (): Forwards => this.#allForwards()
    this.#managers = new LinkManagers(context.config, context.networkd, context.networkManager)
    this.#known = new KnownNetworks(shared)
    const parts = { ...shared, forwards, managers: this.#managers, known: this.#known }
    const borrowed = new BorrowedMachines(shared)
    this.#commons = new Commons({ ...parts, borrowed })
    const all = { ...parts, borrowed, commons: this.#commons }
    this.#links = context.config.backend === 'networkd' ? new BorrowedLinks(all) : new OwnLinks(all)
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
    const network = this.#known.of(name) ?? this.#known.expectedOf(name, this.#context.configured(name).network)
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
    await this.#links.forwardsChanged(forward.machine)
  }

  /** Takes a forward away; connections through it go on. Throws FileNotFound. */
  async removeForward(machine: string, listen: string): Promise<void> {
    this.#allForwards().remove(machine, listen)
    await this.#links.forwardsChanged(machine)
  }

  /** What there is, for people and programs to look at. */
  describe(): NetworksDescription {
    const managed = this.#managers.leaveLinksToUs
    const describe = (network: Network): NetworkView => network.describe(managed || network.isUp)
    const others = this.#known.others().map(describe)
    const { backend } = this.#context.config
    return { backend, managed, networkd: this.#managers.hasNetworkd, default: describe(this.#known.default), others }
  }

  /** Brings a machine to its network, see MemberLinks.attach. */
  async attach(member: NetworkMember): Promise<void> {
    await this.#links.attach(member)
  }

  /** Takes a machine's network away. */
  async detach(name: string): Promise<void> {
    await this.#links.detach(name)
  }

  /**
   * Makes everything what it is to be for these machines, whatever an earlier daemon left or somebody else did: what
   * belongs to no machine is taken away (networking.md 7.11).
   */
  async reconcile(members: readonly NetworkMember[]): Promise<void> {
    const names = new Set(members.map(({ name }) => name))
    for (const name of this.#links.names()) if (!names.has(name)) await this.detach(name)
    // What fails is logged, and the machines run already.
    await this.#commons.bringTogether(members.map((member) => () => this.attach(member).catch(() => undefined)))
    if (this.#links.names().length === 0) await this.takeDown()
    else await this.#commons.hold()
  }

  /** Takes all down that belongs to no machine. Throws Failed while machines use a network. */
  async takeDown(): Promise<void> {
    await this.#commons.takeDown()
  }

  #allForwards(): Forwards {
    return (this.#forwards ??= new Forwards(join(this.#context.runtimeDirectory, 'forwards.json')))
  }
}

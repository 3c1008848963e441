import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { explain, MachinedError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { Rollback } from '../base/rollback.ts'
import { findLink, type Link } from '../linux/link.ts'
import type { NetworkNamespace } from '../linux/namespace.ts'
import type { NamespaceWorkers } from '../linux/namespace-workers.ts'
import { RequestSocket } from '../linux/netlink-request.ts'
import type { PidRef } from '../linux/process.ts'
import { AddressBook, placesOf } from './address-book.ts'
import { ensureBridge, releasePort, removeOrphans, uplinkMtu } from './bridge.ts'
import type { FirewallState, Forward } from './firewall-state.ts'
import { Forwards } from './forwards.ts'
import type { OtherFirewalls } from './other-firewalls.ts'
import { Rules } from './rules.ts'
import { formatPrefix } from '../base/prefix.ts'
import { findGuestLink, injectAddresses, networkFile, type GuestPlan } from './guest.ts'
import { enableRouting } from './host-settings.ts'
import type { Lease } from './leases.ts'
import type { NetworkConfig } from './network-config.ts'
import type { Networkd } from './networkd.ts'
import { findPort, joinBridge, tunePort } from './port.ts'
import { bridgeMac } from './subnet.ts'

/** How long the bridge stays without machines, so that one that restarts finds it. */
const LINGER_MS = 5000

/** A machine as networks see it. */
export interface NetworkMember {
  readonly name: string
  readonly class: string
  /** The user who registered it. */
  readonly owner: number
  readonly leader: PidRef | undefined
  readonly interfaces: readonly number[]
}

/** A machine that has a network from us. */
interface Attachment {
  readonly name: string
  readonly port: Link
  readonly guest: Link | undefined
  readonly lease: Lease
}

/** What networks are made with. */
export interface NetworkContext {
  readonly config: NetworkConfig
  readonly own: NetworkNamespace
  readonly workers: NamespaceWorkers
  readonly networkd: Pick<Networkd, 'runs' | 'leaveAlone' | 'isConfigured'>
  readonly firewalls: OtherFirewalls
  /** The port forwards that are configured for a machine. */
  readonly configuredForwards: (machine: string) => readonly Forward[]
  /** Where leases and the chosen subnet are kept. */
  readonly stateDirectory: string
  /** Where the rules are kept that were applied last. */
  readonly runtimeDirectory: string
}

/** The network of machines: a bridge, an address for each name, rules for what goes through (networking.md 7). */
export class Networks {
  readonly #context: NetworkContext
  readonly #rules: Rules
  readonly #book: AddressBook
  readonly #attached = new Map<string, Attachment>()
  #forwards: Forwards | undefined
  #socket: RequestSocket | undefined
  #lingering: NodeJS.Timeout | undefined

  constructor(context: NetworkContext) {
    this.#context = context
    this.#rules = new Rules(join(context.runtimeDirectory, 'rules.nft'), context.config, context.firewalls)
    this.#book = new AddressBook(context.config, context.stateDirectory)
  }

  /** The leases of all names that ever had a network, by name. */
  leases(): Lease[] {
    return this.#book.list(this.#route())
  }

  /** Gives a name these addresses when its machine starts next. Throws as Leases.fix does. */
  setLease(name: string, addresses: Pick<Lease, 'ip4' | 'ip6'>): void {
    this.#book.fix(this.#route(), name, addresses)
  }

  forwards(): readonly Forward[] {
    return this.#allForwards().all()
  }

  /** Adds a forward, in effect when this returns. Throws FileExists, naming the machine that has the port, NotSupported where firewalld forbids it. */
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
  describe(): Record<string, unknown> {
    const { config, networkd } = this.#context
    const { subnet4, subnet6 } = this.#isManaged() ? this.#book.space(this.#route()) : {}
    return {
      bridge: config.bridge,
      managed: this.#isManaged(),
      networkd: networkd.runs,
      subnet4: subnet4 && formatPrefix(subnet4),
      subnet6: subnet6 && formatPrefix(subnet6),
      machines: [...this.#attached.keys()]
    }
  }

  /**
   * Gives a machine its network, if that is ours to do: done when this returns, so that the machine finds it when it
   * starts. Whatever fails is logged, and the machine goes without. Throws only with RequireNetwork=yes.
   */
  async attach(member: NetworkMember): Promise<void> {
    const { name, leader } = member
    if (!this.#isManaged() || leader === undefined || member.class !== 'container') return
    // Whoever else registers a machine could point to links that are not theirs.
    if (member.owner !== 0) return
    try {
      await this.#attach(member, leader)
    } catch (error) {
      const failure = `Failed to set up the network of machine ${name}`
      if (this.#context.config.requireNetwork) throw explain(failure, error)
      log.warn({ NAME: name, err: error }, failure)
    }
  }

  /** Takes a machine's network away. What of it is in the machine goes with it. */
  async detach(name: string): Promise<void> {
    const attachment = this.#attached.get(name)
    if (attachment === undefined) return
    this.#attached.delete(name)
    const hadForwards = this.#allForwards().of(name).length > 0
    this.#allForwards().release(name)
    try {
      releasePort(this.#route(), attachment.port)
      if (this.#attached.size === 0) this.#linger()
      await this.#update()
      if (hadForwards) this.#rules.forget(name, attachment.lease)
    } catch (error) {
      log.warn({ NAME: name, err: error }, `Failed to take down the network of machine ${name}`)
    }
  }

  /**
   * Makes everything what it is to be for these machines, whatever an earlier daemon left: what belongs to no machine
   * is taken away (networking.md 7.11).
   */
  async reconcile(members: Iterable<NetworkMember>): Promise<void> {
    if (this.#context.config.manage === 'no') return
    for (const member of members) await this.attach(member)
    if (this.#attached.size === 0) await this.takeDown()
    else removeOrphans(this.#route(), this.#kept())
  }

  /** Takes all down that belongs to no machine. */
  async takeDown(): Promise<void> {
    clearTimeout(this.#lingering)
    if (this.#attached.size > 0) throw new MachinedError('Failed', 'Machines are using the network')
    await Promise.all([this.#rules.remove(), this.#tellNetworkd()])
    // Where the bridge is missing, so is all else: a host without machines is not looked through at each start.
    if (existsSync(`/sys/class/net/${this.#context.config.bridge}`)) removeOrphans(this.#route(), new Set())
  }

  #isManaged(): boolean {
    const { config, networkd } = this.#context
    return config.manage === 'yes' || (config.manage === 'auto' && !networkd.runs)
  }

  async #attach({ name, interfaces }: NetworkMember, leader: PidRef): Promise<void> {
    const { config, own, networkd } = this.#context
    const socket = this.#route()
    const port = findPort(socket, name, interfaces, config.bridge)
    const guest = typeof port === 'string' ? undefined : findGuestLink(own, leader, port)
    if (typeof port === 'string' || guest === undefined) {
      log.debug({ NAME: name }, `Machine ${name} gets no network: ${typeof port === 'string' ? port : 'it has none'}`)
      return
    }
    if (networkd.isConfigured(port.name)) return
    const rollback = new Rollback()
    try {
      const lease = this.#book.take(socket, name, macText(guest), new Set(this.#attached.keys()))
      const bridge = this.#bridge(socket)
      const attachment = { name, port, guest, lease }
      rollback.add(() => this.detach(name))
      if (!this.#attached.has(name)) this.#allForwards().configure(name, this.#context.configuredForwards(name))
      this.#attached.set(name, attachment)
      clearTimeout(this.#lingering)
      joinBridge(socket, port, name, bridge)
      this.#tune(attachment)
      const plan = { port, mtu: bridge.mtu, ...placesOf(lease, this.#book.space(socket)) }
      if (config.inject) injectAddresses(own, leader, guest, plan)
      await Promise.all([this.#update(), this.#writeGuestFile(leader, guest, plan)])
    } catch (error) {
      await rollback.undo()
      throw error
    }
  }

  #bridge(socket: RequestSocket): Link {
    const { config } = this.#context
    const mtu = config.mtu === 'auto' ? uplinkMtu(socket) : config.mtu
    const { subnet4, subnet6 } = this.#book.space(socket)
    const subnets = [subnet4, subnet6].filter((subnet) => subnet !== undefined)
    const bridge = ensureBridge(socket, { name: config.bridge, mac: bridgeMac(this.#book.seed), mtu, subnets })
    enableRouting(config.bridge, config)
    return bridge
  }

  async #writeGuestFile(leader: PidRef, guest: Link, plan: GuestPlan): Promise<void> {
    if (!this.#context.config.dropIn) return
    await this.#context.workers
      .run(leader, { leader }, 'writeFiles', [networkFile(guest, plan)])
      .catch((error: unknown) => {
        log.debug({ err: error }, 'Failed to tell the networkd of a machine about its addresses')
      })
  }

  async #update(): Promise<void> {
    await Promise.all([this.#rules.apply(() => this.#firewallState()), this.#tellNetworkd()])
  }

  async #tellNetworkd(): Promise<void> {
    const { config, networkd } = this.#context
    const ports = config.manage === 'yes' ? ['ve-*'] : [...this.#attached.values()].map(({ port }) => port.name)
    await networkd.leaveAlone(ports.length === 0 ? [] : [config.bridge, ...ports])
  }

  #firewallState(): Omit<FirewallState, 'kept'> {
    const { config } = this.#context
    const ports = [...this.#attached.values()].map(({ port, guest, lease: { ip4, ip6 } }) => ({
      interfaceName: port.name,
      mac: guest === undefined ? '' : macText(guest),
      ip4,
      ip6
    }))
    const leases = new Map(Array.from(this.#attached, ([name, { lease }]) => [name, lease]))
    const forwards = this.#allForwards().active(leases)
    return { bridge: config.bridge, ...this.#book.space(this.#route()), config, ports, forwards }
  }

  #allForwards(): Forwards {
    return (this.#forwards ??= new Forwards(join(this.#context.runtimeDirectory, 'forwards.json')))
  }

  async #forwardsChanged(machine: string): Promise<void> {
    const attachment = this.#attached.get(machine)
    if (attachment === undefined) return
    this.#tune(attachment)
    await this.#update()
  }

  #tune({ name, port }: Attachment): void {
    const isolated = this.#context.config.isolation === 'ports'
    tunePort(this.#route(), port, { isolated, hasForwards: this.#allForwards().of(name).length > 0 })
  }

  #linger(): void {
    clearTimeout(this.#lingering)
    this.#lingering = setTimeout(() => {
      if (this.#attached.size > 0) return
      this.takeDown().catch((error: unknown) => {
        log.warn({ err: error }, 'Failed to take down the network of machines')
      })
    }, LINGER_MS).unref()
  }

  /** The links that are in use. */
  #kept(): Set<number> {
    const bridge = findLink(this.#route(), this.#context.config.bridge)
    return new Set([bridge?.index ?? 0, ...Array.from(this.#attached.values(), ({ port }) => port.index)])
  }

  /** The socket for requests about the host's own links; opened when it is first needed. */
  #route(): RequestSocket {
    return (this.#socket ??= new RequestSocket())
  }
}

function macText({ mac }: Link): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, '0')).join(':')
}

import { log } from '../base/log.ts'
import { deleteLink, findLink, type Link } from '../linux/link.ts'
import type { NetworkNamespace } from '../linux/namespace.ts'
import type { NamespaceWorkers } from '../linux/namespace-workers.ts'
import type { RequestSocket } from '../linux/netlink-request.ts'
import type { PidRef } from '../linux/process.ts'
import type { AddressBook } from './address-book.ts'
import { ensureBridge, isOurs, releasePort, releaseZone, uplinkMtu } from './bridge.ts'
import { injectAddresses, isInjected, networkFile, removeAddresses, type GuestPlan } from './guest.ts'
import type { HostSettings } from './host-settings.ts'
import type { HostSocket } from './host-socket.ts'
import { gatewaysOf, placesOf, type Lease } from './leases.ts'
import type { NetworkConfig } from './network-config.ts'
import type { NetworkIdentity } from './network-name.ts'
import { holdPort, joinBridge, tunePort } from './port.ts'
import { bridgeMac } from './subnet.ts'

/** What links are made with. */
export interface LinksContext {
  /** Another one may come into force while there are none. */
  readonly config: NetworkConfig
  readonly identity: NetworkIdentity
  readonly host: HostSocket
  readonly own: NetworkNamespace
  readonly workers: NamespaceWorkers
  readonly settings: HostSettings
}

/** A machine that has a network from us. */
export interface Attachment {
  readonly name: string
  readonly leader: PidRef
  /** The host's end of its link. */
  readonly port: Link
  /** The machine's end. */
  readonly guest: Link
  readonly lease: Lease
}

/** The two ends of a machine's link, of which the host's is ours to manage. */
export type Ends = Pick<Attachment, 'name' | 'leader' | 'port' | 'guest'>

/** The bridge with its ports, and what is at their other ends (networking.md 7.5). */
export class Links {
  readonly #context: LinksContext
  readonly #book: AddressBook
  readonly #attached = new Map<string, Attachment>()

  constructor(context: LinksContext, book: AddressBook) {
    this.#context = context
    this.#book = book
  }

  get attached(): ReadonlyMap<string, Attachment> {
    return this.#attached
  }

  get #socket(): RequestSocket {
    return this.#context.host.requests
  }

  /** Takes a machine in, with addresses of its own; nothing is done yet about its link. Throws LimitsExceeded. */
  admit(ends: Ends): Attachment {
    const { name, guest } = ends
    const lease = this.#book.take(name, guest, new Set(this.#attached.keys()))
    const attachment = { ...ends, lease }
    this.#attached.set(name, attachment)
    return attachment
  }

  /** Makes the host's end a port of the bridge, as of now without a machine that can use it. Throws what the kernel says. */
  connect({ port, name }: Attachment): void {
    joinBridge(this.#socket, port, name, this.#presentBridge() ?? this.#ensureBridge())
  }

  /** Gives a machine its addresses, unless it has them. Rejects with what the kernel says. */
  async address(attachment: Attachment): Promise<void> {
    const { config, own, workers } = this.#context
    const { leader, guest } = attachment
    const plan = this.#planOf(attachment)
    if (config.inject && !isInjected(own, leader, guest, plan)) injectAddresses(own, leader, guest, plan)
    if (!config.dropIn) return
    await workers.run(leader, { leader }, 'writeFiles', [networkFile(guest, plan)]).catch((error: unknown) => {
      log.debug({ err: error }, 'Failed to tell the networkd of a machine about its addresses')
    })
  }

  /** Gives a machine other addresses in place of those that it has. */
  async readdress(attachment: Attachment, lease: Lease): Promise<void> {
    const { leader, guest } = attachment
    removeAddresses(this.#context.own, leader, guest, this.#planOf(attachment).addresses)
    const changed = { ...attachment, lease }
    this.#attached.set(attachment.name, changed)
    await this.address(changed)
  }

  /** Lets go of a machine's link. Throws what the kernel says, and has forgotten the machine all the same. */
  disconnect({ name, port }: Ends): void {
    this.#attached.delete(name)
    releasePort(this.#socket, port)
  }

  /** Sets what a port lets through. */
  tune({ port }: Attachment, hasForwards: boolean): void {
    tunePort(this.#socket, port, { isolated: this.#context.config.isolation === 'ports', hasForwards })
  }

  /** The indexes of all links of ours in it that are there. */
  indexes(): number[] {
    const bridge = findLink(this.#socket, this.#context.identity.bridge)
    return [...(bridge ? [bridge] : []), ...Array.from(this.#attached.values(), ({ port }) => port)].map(
      ({ index }) => index
    )
  }

  /**
   * Makes bridge and ports what they are to be, whatever somebody did to them; a machine's own end is its own to change.
   * Throws what the kernel says.
   */
  hold(): void {
    const bridge = this.#ensureBridge()
    for (const { port, name } of this.#attached.values()) holdPort(this.#socket, port, name, bridge)
  }

  /** Takes the bridge away, or gives it back where it is a zone's, when no machine has a link. */
  remove(): void {
    const { identity, settings } = this.#context
    settings.forget(identity.bridge, identity.isZone)
    const bridge = findLink(this.#socket, identity.bridge)
    if (bridge === undefined || !isOurs(bridge)) return
    if (identity.isZone) releaseZone(this.#socket, bridge.name, gatewaysOf(this.#book.space()))
    else deleteLink(this.#socket, bridge)
  }

  #planOf({ lease, port }: Attachment): GuestPlan {
    const mtu = findLink(this.#socket, this.#context.config.bridge)?.mtu ?? port.mtu
    return { port, mtu, ...placesOf(lease, this.#book.space()) }
  }

  /** The bridge where other machines are at it: all that belongs to it is held anyway. */
  #presentBridge(): Link | undefined {
    const bridge = this.#attached.size > 1 ? findLink(this.#socket, this.#context.config.bridge) : undefined
    return bridge?.up === true && isOurs(bridge) ? bridge : undefined
  }

  #ensureBridge(): Link {
    const { config, identity, settings } = this.#context
    const mtu = config.mtu === 'auto' ? uplinkMtu(this.#socket) : config.mtu
    const addresses = gatewaysOf(this.#book.space())
    const bridge = ensureBridge(this.#socket, { identity, mac: bridgeMac(this.#book.seed), mtu, addresses })
    settings.enable(config)
    return bridge
  }
}

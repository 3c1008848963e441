import { existsSync } from 'node:fs'
import { log } from '../base/log.ts'
import { findLink, type Link } from '../linux/link.ts'
import type { NetworkNamespace } from '../linux/namespace.ts'
import type { NamespaceWorkers } from '../linux/namespace-workers.ts'
import type { RequestSocket } from '../linux/netlink-request.ts'
import type { PidRef } from '../linux/process.ts'
import type { AddressBook } from './address-book.ts'
import { ensureBridge, isOurs, releasePort, removeOrphans, uplinkMtu } from './bridge.ts'
import { findGuestLink, injectAddresses, isInjected, networkFile, removeAddresses, type GuestPlan } from './guest.ts'
import { enableRouting, forgetRouting } from './host-settings.ts'
import type { HostSocket } from './host-socket.ts'
import { gatewaysOf, placesOf, type Lease } from './leases.ts'
import type { NetworkMember } from './member.ts'
import type { NetworkConfig } from './network-config.ts'
import { findPort, holdPort, joinBridge, tunePort } from './port.ts'
import { bridgeMac } from './subnet.ts'

/** What links are made with. */
export interface LinksContext {
  readonly config: NetworkConfig
  readonly host: HostSocket
  readonly own: NetworkNamespace
  readonly workers: NamespaceWorkers
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

  /** The link of a machine; undefined when it has none that is ours to manage. Throws what the kernel says. */
  find({ name, interfaces, leader }: NetworkMember): Ends | undefined {
    if (leader === undefined) return undefined
    const port = findPort(this.#socket, name, interfaces, this.#context.config.bridge)
    const guest = typeof port === 'string' ? undefined : findGuestLink(this.#context.own, leader, port)
    if (typeof port !== 'string' && guest !== undefined) return { name, leader, port, guest }
    log.debug({ NAME: name }, `Machine ${name} gets no network: ${typeof port === 'string' ? port : 'it has none'}`)
    return undefined
  }

  /** Takes a machine in, with addresses of its own; nothing is done yet about its link. Throws LimitsExceeded. */
  admit(ends: Ends): Attachment {
    const { name, guest } = ends
    if (this.#attached.size === 0) this.#book.reconsider(this.#socket)
    const lease = this.#book.take(this.#socket, name, guest, new Set(this.#attached.keys()))
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

  /** Makes bridge and ports what they are to be, whatever somebody did to them; a machine's own end is its own to change. */
  hold(): void {
    const bridge = this.#ensureBridge()
    for (const { port, name } of this.#attached.values()) holdPort(this.#socket, port, name, bridge)
    removeOrphans(
      this.#socket,
      new Set([bridge.index, ...Array.from(this.#attached.values(), ({ port }) => port.index)])
    )
  }

  /** Takes away all that is ours, when no machine has a link. */
  remove(): void {
    // The bridge goes last, and where it is missing, so is all else: a host without machines is not looked through at each start.
    if (!existsSync(`/sys/class/net/${this.#context.config.bridge}`)) return
    forgetRouting()
    removeOrphans(this.#socket, new Set())
    this.#context.host.close()
  }

  #planOf({ lease, port }: Attachment): GuestPlan {
    const mtu = findLink(this.#socket, this.#context.config.bridge)?.mtu ?? port.mtu
    return { port, mtu, ...placesOf(lease, this.#book.space(this.#socket)) }
  }

  /** The bridge where other machines are at it: all that belongs to it is held anyway. */
  #presentBridge(): Link | undefined {
    const bridge = this.#attached.size > 1 ? findLink(this.#socket, this.#context.config.bridge) : undefined
    return bridge?.up === true && isOurs(bridge) ? bridge : undefined
  }

  #ensureBridge(): Link {
    const { config } = this.#context
    const mtu = config.mtu === 'auto' ? uplinkMtu(this.#socket) : config.mtu
    const addresses = gatewaysOf(this.#book.space(this.#socket))
    const bridge = ensureBridge(this.#socket, { name: config.bridge, mac: bridgeMac(this.#book.seed), mtu, addresses })
    enableRouting(config.bridge, config)
    return bridge
  }
}

import { log } from '../base/log.ts'
import { formatPrefix } from '../base/prefix.ts'
import { macText } from '../linux/link.ts'
import { AddressBook } from './address-book.ts'
import type { FirewallState } from './firewall-state.ts'
import type { Lease } from './leases.ts'
import { Links, type LinksContext } from './links.ts'

/** How long the bridge stays without machines, so that one that restarts finds it. */
const LINGER_MS = 5000

/** What a network is made with. */
export interface NetworkContext extends LinksContext {
  /** Where leases and the chosen subnet are kept. */
  readonly stateDirectory: string
}

/** What of a network is to be seen. */
export interface NetworkView {
  readonly bridge: string
  /** The subnets; undefined where they are not ours to choose. */
  readonly subnet4: string | undefined
  readonly subnet6: string | undefined
  /** What of others on this host one of the subnets overlaps; undefined for nothing. */
  readonly conflict: string | undefined
  /** The names of those that have a network from us. */
  readonly machines: readonly string[]
}

/** A network of machines: a bridge, subnets, and an address of them for each name (networking.md 7). */
export class Network {
  readonly book: AddressBook
  readonly links: Links
  readonly #context: NetworkContext
  #lingering: NodeJS.Timeout | undefined
  /** What was said in the log. */
  #conflict = ''

  constructor(context: NetworkContext) {
    this.#context = context
    this.book = new AddressBook(context.config, context.stateDirectory)
    this.links = new Links(context, this.book)
  }

  /** What there is of it. */
  describe(isManaged: boolean): NetworkView {
    const socket = isManaged ? this.#context.host.requests : undefined
    const { subnet4, subnet6 } = socket ? this.book.space(socket) : {}
    const conflict = socket && this.book.conflict(socket)
    return {
      bridge: this.#context.config.bridge,
      subnet4: subnet4 && formatPrefix(subnet4),
      subnet6: subnet6 && formatPrefix(subnet6),
      conflict: conflict && formatPrefix(conflict),
      machines: [...this.links.attached.keys()]
    }
  }

  /** Gives a name addresses, at once where its machine runs. Rejects as AddressBook.fix does. */
  async setLease(name: string, addresses: Pick<Lease, 'ip4' | 'ip6'>): Promise<void> {
    const lease = await this.book.fix(this.#context.host.requests, name, addresses)
    const attachment = this.links.attached.get(name)
    if (attachment !== undefined) await this.links.readdress(attachment, lease)
  }

  /** Takes a lease to another name, or drops it where there is none; not that of a machine that runs. */
  moveLease(name: string, newName: string | undefined): void {
    const { attached } = this.links
    const socket = this.#context.host.requests
    if (attached.has(name)) return
    if (newName === undefined) this.book.drop(socket, name)
    else if (!attached.has(newName)) this.book.rename(socket, name, newName)
  }

  /** What the rules have to know of it. */
  firewallState(): Omit<FirewallState, 'kept' | 'forwards'> {
    const { config, host } = this.#context
    const ports = [...this.links.attached.values()].map(({ port, guest, lease: { ip4, ip6 } }) => ({
      interfaceName: port.name,
      mac: macText(guest),
      ip4,
      ip6
    }))
    return { bridge: config.bridge, ...this.book.space(host.requests), config, ports }
  }

  /** Says in the log when something else on the host has come to use one of its subnets, and when that is over. */
  checkConflict(): void {
    const conflict = this.book.conflict(this.#context.host.requests)
    const text = conflict === undefined ? '' : formatPrefix(conflict)
    if (text === this.#conflict) return
    if (text === '') log.info('The subnet of machines is used by nothing else any more')
    else log.warn(`The subnet of machines overlaps ${text}, which is in use elsewhere on this host`)
    this.#conflict = text
  }

  /** Calls `over` when no machine has come for a while. */
  linger(over: () => void): void {
    this.stay()
    this.#lingering = setTimeout(() => {
      if (this.links.attached.size === 0) over()
    }, LINGER_MS).unref()
  }

  /** It is needed. */
  stay(): void {
    clearTimeout(this.#lingering)
  }
}

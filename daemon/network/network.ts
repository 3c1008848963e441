import { log } from '../base/log.ts'
import { formatPrefix, type Prefix } from '../base/prefix.ts'
import { macText } from '../linux/link.ts'
import { AddressBook } from './address-book.ts'
import type { FirewallNetwork } from './firewall-state.ts'
import type { Lease } from './leases.ts'
import { Links, type Attachment, type Ends, type LinksContext } from './links.ts'
import type { NetworkConfig } from './network-config.ts'
import type { NetworkIdentity } from './network-name.ts'
import type { SubnetContext } from './subnet-choice.ts'

/** How long the bridge stays without machines, so that one that restarts finds it. */
const LINGER_MS = 5000

/** What a network is made with. */
export interface NetworkContext extends LinksContext, SubnetContext {}

/** What of a network is to be seen. */
export interface NetworkView {
  readonly name: string
  readonly bridge: string
  /** The subnets; undefined where they are not ours to choose. */
  readonly subnet4: string | undefined
  readonly subnet6: string | undefined
  /** What of others on this host one of the subnets overlaps; undefined for nothing. */
  readonly conflict: string | undefined
  /** The names of those that have a network from us. */
  readonly machines: readonly string[]
  /** The files that its configuration was read from, in the order in which they count. */
  readonly files: readonly string[]
}

/** A network of machines: a bridge, subnets, and an address of them for each name (networking.md 7). */
export class Network {
  readonly book: AddressBook
  readonly links: Links
  readonly identity: NetworkIdentity
  /** Where its configuration was read from. */
  files: readonly string[] = []
  readonly #context: { -readonly [K in keyof NetworkContext]: NetworkContext[K] }
  #isUp = false
  #lingering: NodeJS.Timeout | undefined
  /** What was said in the log. */
  #conflict = ''

  constructor(context: NetworkContext) {
    this.identity = context.identity
    this.#context = { ...context }
    this.book = new AddressBook(this.#context)
    this.links = new Links(this.#context, this.book)
  }

  get config(): NetworkConfig {
    return this.#context.config
  }

  /** Whether it has machines, or its bridge waits for the next one. */
  get isUp(): boolean {
    return this.#isUp
  }

  /** Takes another configuration; for when it is not up. */
  configure(config: NetworkConfig, files: readonly string[]): void {
    this.#context.config = config
    this.files = files
    this.book.reconfigure()
  }

  /** Takes a machine in, see Links.admit. Throws FileExists where another network of ours has the subnet. */
  admit(ends: Ends): Attachment {
    clearTimeout(this.#lingering)
    if (this.links.attached.size === 0) this.book.reconsider()
    const attachment = this.links.admit(ends)
    this.#isUp = true
    return attachment
  }

  /** Takes the bridge away, or gives it back, when no machine is at it. */
  remove(): void {
    clearTimeout(this.#lingering)
    this.#isUp = false
    this.links.remove()
  }

  /** Its subnets. Throws as AddressBook.space does. */
  subnets(): Prefix[] {
    const { subnet4, subnet6 } = this.book.space()
    return [subnet4, subnet6].filter((subnet) => subnet !== undefined)
  }

  /** What there is of it. */
  describe(isManaged: boolean): NetworkView {
    const { subnet4, subnet6 } = isManaged ? this.book.space() : {}
    const conflict = isManaged ? this.book.conflict() : undefined
    return {
      name: this.identity.name,
      bridge: this.identity.bridge,
      subnet4: subnet4 && formatPrefix(subnet4),
      subnet6: subnet6 && formatPrefix(subnet6),
      conflict: conflict && formatPrefix(conflict),
      machines: [...this.links.attached.keys()],
      files: this.files
    }
  }

  /** Gives a name addresses, at once where its machine runs. Rejects as AddressBook.fix does. */
  async setLease(name: string, addresses: Pick<Lease, 'ip4' | 'ip6'>): Promise<void> {
    const lease = await this.book.fix(name, addresses)
    const attachment = this.links.attached.get(name)
    if (attachment !== undefined) await this.links.readdress(attachment, lease)
  }

  /** Takes a lease to another name, or drops it where there is none; not that of a machine that runs. */
  moveLease(name: string, newName: string | undefined): void {
    const { attached } = this.links
    if (attached.has(name)) return
    if (newName === undefined) this.book.drop(name)
    else if (!attached.has(newName)) this.book.rename(name, newName)
  }

  /** What the rules have to know of it. */
  firewallState(): FirewallNetwork {
    const { config, identity } = this.#context
    const ports = [...this.links.attached.values()].map(({ port, guest, lease: { ip4, ip6 } }) => ({
      interfaceName: port.name,
      mac: macText(guest),
      ip4,
      ip6
    }))
    return { bridge: identity.bridge, ...this.book.space(), config, ports }
  }

  /** Says in the log when something else on the host has come to use one of its subnets, and when that is over. */
  checkConflict(): void {
    const conflict = this.book.conflict()
    const text = conflict === undefined ? '' : formatPrefix(conflict)
    if (text === this.#conflict) return
    const whose = `The subnet of network '${this.identity.name}'`
    if (text === '') log.info(`${whose} is used by nothing else any more`)
    else log.warn(`${whose} overlaps ${text}, which is in use elsewhere on this host`)
    this.#conflict = text
  }

  /** Calls `over` when no machine has come for a while. */
  linger(over: () => void): void {
    clearTimeout(this.#lingering)
    this.#lingering = setTimeout(() => {
      if (this.links.attached.size === 0) over()
    }, LINGER_MS).unref()
  }
}

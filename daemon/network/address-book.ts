import { MachinedError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { formatIp, formatPrefix, type Prefix } from '../base/prefix.ts'
import { SharedWork } from '../base/shared-work.ts'
import { findLink, macText, type Link } from '../linux/link.ts'
import { findNeighbour, isAtBridge } from '../linux/neighbour.ts'
import type { RequestSocket } from '../linux/netlink-request.ts'
import { leaseFile, type LeaseFile, type NetworkRecord } from './lease-file.ts'
import { gatewayOffset, Leases, type AddressSpace, type Lease } from './leases.ts'
import { SubnetChoice, type SubnetContext, type Subnets } from './subnet-choice.ts'
import type { Seed } from './subnet.ts'

/** How long leases that were taken are on their way to the disk. */
const SAVE_MS = 50

/** The subnets of a network and the addresses in them, kept on disk. Chosen when a machine first needs one. */
export class AddressBook {
  readonly #context: SubnetContext
  readonly #choice: SubnetChoice
  readonly #file: LeaseFile
  readonly #saving = new SharedWork(() => this.#write())
  /** What there was before the configuration changed. */
  #before: NetworkRecord | undefined
  #leases: Leases | undefined
  #timer: NodeJS.Timeout | undefined

  /** Throws what fs throws when the host has no machine ID. */
  constructor(context: SubnetContext) {
    this.#context = context
    this.#choice = new SubnetChoice(context)
    this.#file = leaseFile(context.stateDirectory, context.identity.fullName)
  }

  /** What the numbers of the network are derived from. */
  get seed(): Seed {
    return this.#choice.seed
  }

  /** The configuration is another one. Addresses stay as far as it lets them. */
  reconfigure(): void {
    this.#before = this.#record()
    this.#leases = undefined
  }

  /** The subnets. Throws LimitsExceeded when no subnet is free. */
  space(): AddressSpace {
    return this.#all().space
  }

  /** All leases there are; those on disk as well. */
  list(): Lease[] {
    return [...((this.#record() ?? this.#file.load())?.leases ?? [])]
  }

  /**
   * Chooses another IPv4 subnet where something else has come to use this one, if there is one that is free. For when
   * no machine runs: all names get other addresses. Throws FileExists where another network of ours has the subnet.
   */
  reconsider(): void {
    if (this.#choice.presentBridge() === undefined) this.#avoidConflict()
    const doubled = this.#choice.doubled(this.#all().space)
    if (doubled === undefined) return
    throw new MachinedError('FileExists', `Subnet ${formatPrefix(doubled)} is that of another network of machines`)
  }

  #avoidConflict(): void {
    const { space } = this.#all()
    if (this.#context.config.subnet4 !== 'auto' || space.subnet4 === undefined) return
    const conflict = this.#choice.conflict({ subnet4: space.subnet4 })
    if (conflict === undefined) return
    const subnet4 = this.#choice.pick()
    const whose = `The subnet of network '${this.#context.identity.name}', ${formatPrefix(space.subnet4)},`
    const text = `${whose} is in use elsewhere: ${formatPrefix(conflict)}`
    if (subnet4 === undefined) {
      log.warn(`${text}; no other one is free`)
      return
    }
    log.notice(`${text}; it is ${formatPrefix(subnet4)} from now on`)
    this.#leases = new Leases(this.#spaceOf({ subnet4, subnet6: space.subnet6 }))
  }

  /** What else has come to use one of the subnets since; undefined for nothing. */
  conflict(): Prefix | undefined {
    return this.#choice.conflict(this.#all().space)
  }

  /** The lease of a name, whose machine has this link. Throws LimitsExceeded when there is neither a subnet nor an address. */
  take(name: string, guest: Pick<Link, 'mac'>, inUse: ReadonlySet<string>): Lease {
    const isTaken = (ip: Buffer): boolean => this.#isElsewhere(ip, guest)
    const lease = this.#all().take(name, Date.now(), { inUse, isTaken })
    lease.mac = macText(guest)
    // A machine waits for it. If we end before that, the lease comes out of the hashes once more.
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      void this.#saving.run()
    }, SAVE_MS)
    return lease
  }

  /** Whether somebody at the bridge has an address who is not this link, as one may that an administrator has put there. */
  #isElsewhere(ip: Buffer, { mac }: Pick<Link, 'mac'>): boolean {
    const bridge = findLink(this.#socket, this.#context.identity.bridge)
    if (bridge === undefined) return false
    const other = findNeighbour(this.#socket, bridge, ip)
    if (other === undefined || other.equals(mac) || !isAtBridge(this.#socket, bridge, other)) return false
    log.warn(
      `Address ${formatIp(ip)} is in use at ${macText({ mac: other })}, which has no lease; it is given to no machine`
    )
    return true
  }

  /** Gives a name these addresses from now on; they are on the disk then. Rejects as Leases.fix throws. */
  async fix(name: string, addresses: Pick<Lease, 'ip4' | 'ip6'>): Promise<Lease> {
    const lease = this.#all().fix(name, addresses, Date.now())
    await this.#saving.run()
    return lease
  }

  /** Forgets a name. */
  drop(name: string): void {
    this.#change((leases) => leases.drop(name))
  }

  /** Gives the lease of a name to another. */
  rename(name: string, newName: string): void {
    this.#change((leases) => leases.rename(name, newName))
  }

  #change(work: (leases: Leases) => boolean): void {
    // Where there are none, no subnet is chosen.
    if (this.list().length > 0 && work(this.#all())) void this.#saving.run()
  }

  #all(): Leases {
    if (this.#leases !== undefined) return this.#leases
    const record = this.#before ?? this.#file.load()
    return (this.#leases = new Leases(this.#spaceOf(this.#choice.choose(record)), record?.leases))
  }

  get #socket(): RequestSocket {
    return this.#context.host.requests
  }

  #record(): NetworkRecord | undefined {
    return this.#leases ? { ...this.#leases.space, leases: this.#leases.all() } : this.#before
  }

  #spaceOf(subnets: Subnets): AddressSpace {
    const { dynamicRange, gateway } = this.#context.config
    const offset = gatewayOffset(gateway, subnets)
    if (offset === undefined)
      log.warn(`Gateway= is no address of the network '${this.#context.identity.name}', which goes by the first one`)
    return { ...subnets, gateway: offset ?? 1, dynamicRange }
  }

  async #write(): Promise<void> {
    const record = this.#record()
    if (record === undefined) return
    try {
      await this.#file.save(record)
    } catch (error) {
      // The same addresses come out of the hashes once more.
      log.warn({ err: error }, `Failed to write ${this.#file.path}`)
    }
  }
}

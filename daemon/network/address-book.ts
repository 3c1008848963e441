import { readFileSync } from 'node:fs'
import { MachinedError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { SharedWork } from '../base/shared-work.ts'
import { formatIp, formatPrefix, networkOf, overlap, type Prefix } from '../base/prefix.ts'
import { findLink, macText, type Link } from '../linux/link.ts'
import { findNeighbour, isAtBridge } from '../linux/neighbour.ts'
import type { RequestSocket } from '../linux/netlink-request.ts'
import { listAddresses } from '../linux/route.ts'
import { isOurs, takenNetworks } from './bridge.ts'
import { configuredNetworks } from './configured-networks.ts'
import type { HostSocket } from './host-socket.ts'
import { leaseFile, recordsIn, type LeaseFile, type NetworkRecord } from './lease-file.ts'
import { gatewayOffset, Leases, type AddressSpace, type Lease } from './leases.ts'
import type { NetworkConfig } from './network-config.ts'
import type { NetworkIdentity } from './network-name.ts'
import { localSubnet, pickLocalSubnet, pickSubnet, type Seed } from './subnet.ts'

/** How long leases that were taken are on their way to the disk. */
const SAVE_MS = 50
/** All that is ours by the hash of the host (RFC 4193). */
const SITE_LENGTH = 48

/** What an address book is made with. */
export interface AddressBookContext {
  /** Another one may come into force, see `reconfigure`. */
  readonly config: NetworkConfig
  readonly identity: NetworkIdentity
  readonly host: HostSocket
  /** Where leases and the chosen subnets are kept. */
  readonly stateDirectory: string
  /** The subnets of other networks of ours that are in use. */
  readonly others: () => readonly Prefix[]
}

/** The subnets of a network and the addresses in them, kept on disk. Chosen when a machine first needs one. */
export class AddressBook {
  readonly seed: Seed
  readonly #context: AddressBookContext
  readonly #file: LeaseFile
  readonly #saving = new SharedWork(() => this.#write())
  /** What there was before the configuration changed. */
  #before: NetworkRecord | undefined
  #leases: Leases | undefined
  #timer: NodeJS.Timeout | undefined

  /** Throws what fs throws when the host has no machine ID. */
  constructor(context: AddressBookContext) {
    this.#context = context
    this.#file = leaseFile(context.stateDirectory, context.identity.fullName)
    const id = readFileSync('/etc/machine-id', 'utf8').trim()
    this.seed = { machineId: Buffer.from(id, 'hex'), network: context.identity.fullName }
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
    const bridge = findLink(this.#socket, this.#config.bridge)
    // While it is ours, machines may be at it.
    if (bridge === undefined || !isOurs(bridge)) this.#avoidConflict()
    const { subnet4, subnet6 } = this.#all().space
    const others = this.#context.others()
    const both = [subnet4, subnet6].find((subnet) => subnet && conflictOf(subnet, others))
    if (both === undefined) return
    throw new MachinedError('FileExists', `Subnet ${formatPrefix(both)} is that of another network of machines`)
  }

  #avoidConflict(): void {
    const { space } = this.#all()
    if (this.#config.subnet4 !== 'auto' || space.subnet4 === undefined) return
    const conflict = conflictOf(space.subnet4, this.#taken())
    if (conflict === undefined) return
    const subnet4 = this.#pickSubnet()
    const text = `The subnet of machines, ${formatPrefix(space.subnet4)}, is in use elsewhere: ${formatPrefix(conflict)}`
    if (subnet4 === undefined) {
      log.warn(`${text}; no other one is free`)
      return
    }
    log.notice(`${text}; it is ${formatPrefix(subnet4)} from now on`)
    this.#leases = new Leases(this.#spaceOf({ subnet4, subnet6: space.subnet6 }))
  }

  /** What else has come to use one of the subnets since; undefined for nothing. */
  conflict(): Prefix | undefined {
    const { subnet4, subnet6 } = this.#all().space
    const taken = this.#taken()
    return (subnet4 && conflictOf(subnet4, taken)) ?? (subnet6 && conflictOf(subnet6, taken))
  }

  #taken(): Prefix[] {
    return takenNetworks(this.#socket, findLink(this.#socket, this.#config.bridge)?.index ?? 0)
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
    const bridge = findLink(this.#socket, this.#config.bridge)
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
    const subnets = { subnet4: this.#subnet4(record?.subnet4), subnet6: this.#subnet6(record?.subnet6) }
    return (this.#leases = new Leases(this.#spaceOf(subnets), record?.leases))
  }

  get #config(): NetworkConfig {
    return this.#context.config
  }

  get #socket(): RequestSocket {
    return this.#context.host.requests
  }

  #record(): NetworkRecord | undefined {
    return this.#leases ? { ...this.#leases.space, leases: this.#leases.all() } : this.#before
  }

  #spaceOf(subnets: Pick<AddressSpace, 'subnet4' | 'subnet6'>): AddressSpace {
    const { dynamicRange, gateway } = this.#config
    const offset = gatewayOffset(gateway, subnets)
    if (offset === undefined) log.warn(`Gateway= is no address of the network, which goes by the first one`)
    return { ...subnets, gateway: offset ?? 1, dynamicRange }
  }

  #subnet4(chosen: Prefix | undefined): Prefix | undefined {
    const { subnet4 } = this.#config
    if (subnet4 === 'off') return undefined
    if (typeof subnet4 !== 'string') return subnet4
    const found = chosen ?? this.#presentSubnet() ?? this.#pickSubnet()
    if (found === undefined) throw new MachinedError('LimitsExceeded', 'No subnet of Pool4= is free')
    return found
  }

  #pickSubnet(): Prefix | undefined {
    const { pool4, prefix4 } = this.#config
    const taken = [...this.#taken(), ...configuredNetworks(), ...this.#reserved()]
    return pickSubnet(pool4, prefix4, taken, this.seed)
  }

  /** That of the bridge: machines may be at it though the file is lost. */
  #presentSubnet(): Prefix | undefined {
    const bridge = findLink(this.#socket, this.#config.bridge)
    if (bridge === undefined || !isOurs(bridge)) return undefined
    const addresses = listAddresses(this.#socket).filter(({ interfaceIndex }) => interfaceIndex === bridge.index)
    const found = addresses.find(({ prefix }) => prefix.address.length === 4)
    return found && networkOf(found.prefix)
  }

  #subnet6(chosen: Prefix | undefined): Prefix | undefined {
    const { subnet6 } = this.#config
    if (subnet6 !== 'ula') return subnet6 === 'off' ? undefined : subnet6
    const isOurs = chosen && overlap({ ...localSubnet(this.seed), length: SITE_LENGTH }, chosen)
    return isOurs ? chosen : pickLocalSubnet(this.seed, this.#reserved())
  }

  /** The subnets of all other networks of ours, of which some are not in use. */
  #reserved(): Prefix[] {
    const { stateDirectory, identity, others } = this.#context
    const names = recordsIn(stateDirectory).filter((name) => name !== identity.fullName)
    const records = names.map((name) => leaseFile(stateDirectory, name).load())
    return [...others(), ...records.flatMap((record) => [record?.subnet4 ?? [], record?.subnet6 ?? []].flat())]
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

function conflictOf(subnet: Prefix, taken: readonly Prefix[]): Prefix | undefined {
  return taken.find((other) => overlap(other, subnet))
}

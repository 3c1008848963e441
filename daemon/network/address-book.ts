import { readFileSync } from 'node:fs'
import { join } from 'node:path'
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
import { LeaseFile } from './lease-file.ts'
import { gatewayOffset, Leases, type AddressSpace, type Lease } from './leases.ts'
import type { NetworkConfig } from './network-config.ts'
import { localSubnet, pickSubnet, type Seed } from './subnet.ts'

/** How long leases that were taken are on their way to the disk. */
const SAVE_MS = 50

/** The subnets of a network and the addresses in them, kept on disk. Chosen when a machine first needs one. */
export class AddressBook {
  readonly seed: Seed
  readonly #config: NetworkConfig
  readonly #file: LeaseFile
  readonly #saving = new SharedWork(() => this.#write())
  #leases: Leases | undefined
  #timer: NodeJS.Timeout | undefined

  /** Throws what fs throws when the host has no machine ID. */
  constructor(config: NetworkConfig, directory: string) {
    this.#config = config
    this.#file = new LeaseFile(join(directory, `${config.bridge}.json`))
    const id = readFileSync('/etc/machine-id', 'utf8').trim()
    this.seed = { machineId: Buffer.from(id, 'hex'), network: config.bridge }
  }

  /** The subnets. Throws LimitsExceeded when no subnet is free. */
  space(socket: RequestSocket): AddressSpace {
    return this.#all(socket).space
  }

  /** All leases there are; those on disk as well. */
  list(): Lease[] {
    return this.#leases?.all() ?? [...(this.#file.load()?.leases ?? [])]
  }

  /**
   * Chooses another IPv4 subnet where something else has come to use this one, if there is one that is free. For when
   * no machine runs: all names get other addresses.
   */
  reconsider(socket: RequestSocket): void {
    const { space } = this.#all(socket)
    // While the bridge is there, machines may be at it.
    if (this.#config.subnet4 !== 'auto' || space.subnet4 === undefined || findLink(socket, this.#config.bridge)) return
    const conflict = conflictOf(space.subnet4, this.#taken(socket))
    if (conflict === undefined) return
    const subnet4 = this.#pickSubnet(socket)
    const text = `The subnet of machines, ${formatPrefix(space.subnet4)}, is in use elsewhere: ${formatPrefix(conflict)}`
    if (subnet4 === undefined) {
      log.warn(`${text}; no other one is free`)
      return
    }
    log.notice(`${text}; it is ${formatPrefix(subnet4)} from now on`)
    this.#leases = new Leases(this.#spaceOf(subnet4))
  }

  /** What else has come to use one of the subnets since; undefined for nothing. */
  conflict(socket: RequestSocket): Prefix | undefined {
    const { subnet4, subnet6 } = this.#all(socket).space
    const taken = this.#taken(socket)
    return (subnet4 && conflictOf(subnet4, taken)) ?? (subnet6 && conflictOf(subnet6, taken))
  }

  #taken(socket: RequestSocket): Prefix[] {
    return takenNetworks(socket, findLink(socket, this.#config.bridge)?.index ?? 0)
  }

  /** The lease of a name, whose machine has this link. Throws LimitsExceeded when there is neither a subnet nor an address. */
  take(socket: RequestSocket, name: string, guest: Pick<Link, 'mac'>, inUse: ReadonlySet<string>): Lease {
    const isTaken = (ip: Buffer): boolean => this.#isElsewhere(socket, ip, guest)
    const lease = this.#all(socket).take(name, Date.now(), { inUse, isTaken })
    lease.mac = macText(guest)
    // A machine waits for it. If we end before that, the lease comes out of the hashes once more.
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      void this.#saving.run()
    }, SAVE_MS)
    return lease
  }

  /** Whether somebody at the bridge has an address who is not this link, as one may that an administrator has put there. */
  #isElsewhere(socket: RequestSocket, ip: Buffer, { mac }: Pick<Link, 'mac'>): boolean {
    const bridge = findLink(socket, this.#config.bridge)
    if (bridge === undefined) return false
    const other = findNeighbour(socket, bridge, ip)
    if (other === undefined || other.equals(mac) || !isAtBridge(socket, bridge, other)) return false
    log.warn(
      `Address ${formatIp(ip)} is in use at ${macText({ mac: other })}, which has no lease; it is given to no machine`
    )
    return true
  }

  /** Gives a name these addresses from now on; they are on the disk then. Rejects as Leases.fix throws. */
  async fix(socket: RequestSocket, name: string, addresses: Pick<Lease, 'ip4' | 'ip6'>): Promise<Lease> {
    const lease = this.#all(socket).fix(name, addresses, Date.now())
    await this.#saving.run()
    return lease
  }

  /** Forgets a name. */
  drop(socket: RequestSocket, name: string): void {
    this.#change(socket, (leases) => leases.drop(name))
  }

  /** Gives the lease of a name to another. */
  rename(socket: RequestSocket, name: string, newName: string): void {
    this.#change(socket, (leases) => leases.rename(name, newName))
  }

  #change(socket: RequestSocket, work: (leases: Leases) => boolean): void {
    // Where there are none, no subnet is chosen.
    if (this.list().length > 0 && work(this.#all(socket))) void this.#saving.run()
  }

  #all(socket: RequestSocket): Leases {
    if (this.#leases !== undefined) return this.#leases
    const record = this.#file.load()
    const space = this.#spaceOf(this.#subnet4(socket, record?.subnet4))
    return (this.#leases = new Leases(space, record?.leases))
  }

  #spaceOf(subnet4: Prefix | undefined): AddressSpace {
    const { dynamicRange, gateway } = this.#config
    const subnets = { subnet4, subnet6: this.#subnet6() }
    const offset = gatewayOffset(gateway, subnets)
    if (offset === undefined) log.warn(`Gateway= is no address of the network, which goes by the first one`)
    return { ...subnets, gateway: offset ?? 1, dynamicRange }
  }

  #subnet4(socket: RequestSocket, chosen: Prefix | undefined): Prefix | undefined {
    const { subnet4 } = this.#config
    if (subnet4 === 'off') return undefined
    if (typeof subnet4 !== 'string') return subnet4
    const found = chosen ?? this.#presentSubnet(socket) ?? this.#pickSubnet(socket)
    if (found === undefined) throw new MachinedError('LimitsExceeded', 'No subnet of Pool4= is free')
    return found
  }

  #pickSubnet(socket: RequestSocket): Prefix | undefined {
    const { pool4, prefix4 } = this.#config
    return pickSubnet(pool4, prefix4, [...this.#taken(socket), ...configuredNetworks()], this.seed)
  }

  /** That of the bridge: machines may be at it though the file is lost. */
  #presentSubnet(socket: RequestSocket): Prefix | undefined {
    const bridge = findLink(socket, this.#config.bridge)
    if (bridge === undefined || !isOurs(bridge)) return undefined
    const addresses = listAddresses(socket).filter(({ interfaceIndex }) => interfaceIndex === bridge.index)
    const found = addresses.find(({ prefix }) => prefix.address.length === 4)
    return found && networkOf(found.prefix)
  }

  #subnet6(): Prefix | undefined {
    const { subnet6 } = this.#config
    if (subnet6 === 'off') return undefined
    return subnet6 === 'ula' ? localSubnet(this.seed) : subnet6
  }

  async #write(): Promise<void> {
    if (this.#leases === undefined) return
    try {
      await this.#file.save({ ...this.#leases.space, leases: this.#leases.all() })
    } catch (error) {
      // The same addresses come out of the hashes once more.
      log.warn({ err: error }, `Failed to write ${this.#file.path}`)
    }
  }
}

function conflictOf(subnet: Prefix, taken: readonly Prefix[]): Prefix | undefined {
  return taken.find((other) => overlap(other, subnet))
}

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { MachinedError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { addressAt, formatPrefix, overlap, type Prefix } from '../base/prefix.ts'
import { findLink } from '../linux/link.ts'
import type { RequestSocket } from '../linux/netlink-request.ts'
import { takenNetworks } from './bridge.ts'
import { loadRecord, saveRecord } from './lease-file.ts'
import { Leases, type AddressSpace, type Lease } from './leases.ts'
import type { NetworkConfig } from './network-config.ts'
import { localSubnet, pickSubnet, type Seed } from './subnet.ts'

/** How long leases that were taken are on their way to the disk. */
const SAVE_MS = 50

/** The subnets of a network and the addresses in them, kept on disk. Chosen when a machine first needs one. */
export class AddressBook {
  readonly seed: Seed
  readonly #config: NetworkConfig
  readonly #path: string
  #leases: Leases | undefined
  #saving: NodeJS.Timeout | undefined

  /** Throws what fs throws when the host has no machine ID. */
  constructor(config: NetworkConfig, directory: string) {
    this.#config = config
    this.#path = join(directory, `${config.bridge}.json`)
    const id = readFileSync('/etc/machine-id', 'utf8').trim()
    this.seed = { machineId: Buffer.from(id, 'hex'), network: config.bridge }
  }

  /** The subnets. Throws LimitsExceeded when no subnet is free. */
  space(socket: RequestSocket): AddressSpace {
    return this.#all(socket).space
  }

  /** All leases there are; those on disk as well. */
  list(): Lease[] {
    return this.#leases?.all() ?? [...(loadRecord(this.#path)?.leases ?? [])]
  }

  /**
   * Chooses another IPv4 subnet where something else has come to use this one, if there is one that is free. For when
   * no machine runs: all names get other addresses.
   */
  reconsider(socket: RequestSocket): void {
    const { space } = this.#all(socket)
    // While the bridge is there, machines may be at it.
    if (this.#config.subnet4 !== 'auto' || space.subnet4 === undefined || findLink(socket, this.#config.bridge)) return
    const taken = this.#taken(socket)
    const conflict = conflictOf(space.subnet4, taken)
    if (conflict === undefined) return
    const subnet4 = pickSubnet(this.#config.pool4, this.#config.prefix4, taken, this.seed)
    const text = `The subnet of machines, ${formatPrefix(space.subnet4)}, is in use elsewhere: ${formatPrefix(conflict)}`
    if (subnet4 === undefined) {
      log.warn(`${text}; no other one is free`)
      return
    }
    log.notice(`${text}; it is ${formatPrefix(subnet4)} from now on`)
    this.#leases = new Leases({ ...space, subnet4 }, [])
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

  /** The lease of a name. Throws LimitsExceeded when there is neither a subnet nor an address. */
  take(socket: RequestSocket, name: string, mac: string, inUse: ReadonlySet<string>): Lease {
    const lease = this.#all(socket).take(name, Date.now(), inUse)
    lease.mac = mac
    // A machine waits for it. If we end before that, the lease comes out of the hashes once more.
    this.#saving ??= setTimeout(() => {
      this.#saving = undefined
      if (this.#leases !== undefined) this.#save(this.#leases)
    }, SAVE_MS)
    return lease
  }

  /** Gives a name these addresses from now on. Throws as Leases.fix does. */
  fix(socket: RequestSocket, name: string, addresses: Pick<Lease, 'ip4' | 'ip6'>): Lease {
    const lease = this.#all(socket).fix(name, addresses, Date.now())
    this.#save(this.#all(socket))
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
    if (this.list().length > 0 && work(this.#all(socket))) this.#save(this.#all(socket))
  }

  #all(socket: RequestSocket): Leases {
    if (this.#leases !== undefined) return this.#leases
    const record = loadRecord(this.#path)
    const { dynamicRange } = this.#config
    const space = { subnet4: this.#subnet4(socket, record?.subnet4), subnet6: this.#subnet6(), dynamicRange }
    return (this.#leases = new Leases(space, record?.leases))
  }

  #subnet4(socket: RequestSocket, chosen: Prefix | undefined): Prefix | undefined {
    const { subnet4, pool4, prefix4 } = this.#config
    if (subnet4 === 'off') return undefined
    if (typeof subnet4 !== 'string') return subnet4
    if (chosen !== undefined) return chosen
    const found = pickSubnet(pool4, prefix4, this.#taken(socket), this.seed)
    if (found === undefined) throw new MachinedError('LimitsExceeded', 'No subnet of Pool4= is free')
    return found
  }

  #subnet6(): Prefix | undefined {
    const { subnet6 } = this.#config
    if (subnet6 === 'off') return undefined
    return subnet6 === 'ula' ? localSubnet(this.seed) : subnet6
  }

  #save(leases: Leases): void {
    try {
      saveRecord(this.#path, { ...leases.space, leases: leases.all() })
    } catch (error) {
      // The same addresses come out of the hashes once more.
      log.warn({ err: error }, `Failed to write ${this.#path}`)
    }
  }
}

function conflictOf(subnet: Prefix, taken: readonly Prefix[]): Prefix | undefined {
  return taken.find((other) => overlap(other, subnet))
}

/** What a lease means for an interface: its addresses with their networks, and the routers, which are ours. */
export function placesOf(
  lease: Lease,
  { subnet4, subnet6 }: AddressSpace
): { addresses: Prefix[]; gateways: Buffer[] } {
  const pairs = [
    [lease.ip4, subnet4],
    [lease.ip6, subnet6]
  ] as const
  return {
    addresses: pairs.flatMap(([address, subnet]) => (address && subnet ? [{ address, length: subnet.length }] : [])),
    gateways: pairs.flatMap(([address, subnet]) => (address && subnet ? [addressAt(subnet, 1)] : []))
  }
}

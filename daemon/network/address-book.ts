import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { MachinedError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { addressAt, type Prefix } from '../base/prefix.ts'
import { findLink } from '../linux/link.ts'
import type { RequestSocket } from '../linux/netlink-request.ts'
import { takenNetworks } from './bridge.ts'
import { loadRecord, saveRecord } from './lease-file.ts'
import { Leases, type AddressSpace, type Lease } from './leases.ts'
import type { NetworkConfig } from './network-config.ts'
import { localSubnet, pickSubnet, type Seed } from './subnet.ts'

/** The subnets of a network and the addresses in them, kept on disk. Chosen when a machine first needs one. */
export class AddressBook {
  readonly seed: Seed
  readonly #config: NetworkConfig
  readonly #path: string
  #leases: Leases | undefined

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
  list(socket: RequestSocket): Lease[] {
    return this.#all(socket).all()
  }

  /** The lease of a name. Throws LimitsExceeded when there is neither a subnet nor an address. */
  take(socket: RequestSocket, name: string, mac: string, inUse: ReadonlySet<string>): Lease {
    const lease = this.#all(socket).take(name, Date.now(), inUse)
    lease.mac = mac
    this.#save(this.#all(socket))
    return lease
  }

  /** Gives a name these addresses from now on. Throws as Leases.fix does. */
  fix(socket: RequestSocket, name: string, addresses: Pick<Lease, 'ip4' | 'ip6'>): Lease {
    const lease = this.#all(socket).fix(name, addresses, Date.now())
    this.#save(this.#all(socket))
    return lease
  }

  #all(socket: RequestSocket): Leases {
    if (this.#leases !== undefined) return this.#leases
    const record = loadRecord(this.#path)
    const { dynamicRange } = this.#config
    const space = { subnet4: this.#subnet4(socket, record?.subnet4), subnet6: this.#subnet6(), dynamicRange }
    return (this.#leases = new Leases(space, record?.leases))
  }

  #subnet4(socket: RequestSocket, chosen: Prefix | undefined): Prefix | undefined {
    const { subnet4, pool4, prefix4, bridge } = this.#config
    if (subnet4 === 'off') return undefined
    if (typeof subnet4 !== 'string') return subnet4
    if (chosen !== undefined) return chosen
    const taken = takenNetworks(socket, findLink(socket, bridge)?.index ?? 0)
    const found = pickSubnet(pool4, prefix4, taken, this.seed)
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

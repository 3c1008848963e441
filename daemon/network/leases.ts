import { addressAt, offsetIn, type Prefix } from '../base/prefix.ts'
import { siphash24 } from '../base/siphash.ts'
import { MachinedError } from '../base/errors.ts'

const ADDRESS_KEY = Buffer.from('6d616368696e65642d61646472657373', 'hex')
/** Machines of a network without IPv4 are numbered as if it had one of this length. */
const LENGTH_WITHOUT_IPV4 = 16

/** What belongs to a machine's name in a network (networking.md 7.4). */
export interface Lease {
  readonly name: string
  readonly ip4: Buffer | undefined
  readonly ip6: Buffer | undefined
  /** Of the machine's end of the link, where it was seen. */
  mac: string
  /** Milliseconds since the epoch. */
  readonly firstSeen: number
  lastSeen: number
  /** Whether an administrator has set it. */
  readonly fixed: boolean
}

/** The subnets of a network, and what of them is not for machines by name. */
export interface AddressSpace {
  readonly subnet4: Prefix | undefined
  readonly subnet6: Prefix | undefined
  /** How far into each subnet the address is that is the host's. */
  readonly gateway: number
  readonly dynamicRange: readonly [first: number, last: number]
}

/** How many addresses a network has by which machines are numbered. */
function sizeOf(subnet4: Prefix | undefined): number {
  return 2 ** (32 - (subnet4?.length ?? LENGTH_WITHOUT_IPV4))
}

/** How far into the subnets the host's address is, by what is configured; undefined for an address that is in neither. */
export function gatewayOffset(
  gateway: 'first' | 'last' | Buffer,
  { subnet4, subnet6 }: Pick<AddressSpace, 'subnet4' | 'subnet6'>
): number | undefined {
  const last = sizeOf(subnet4) - 2
  if (typeof gateway === 'string') return gateway === 'first' ? 1 : last
  const [offset] = [subnet4, subnet6].flatMap((subnet) => (subnet && offsetIn(subnet, gateway)) ?? [])
  return offset !== undefined && offset > 0n && offset <= BigInt(last) ? Number(offset) : undefined
}

/** The host's own addresses in a network. */
export function gatewaysOf({ subnet4, subnet6, gateway }: AddressSpace): Prefix[] {
  const subnets = [subnet4, subnet6].filter((subnet) => subnet !== undefined)
  return subnets.map((subnet) => ({ address: addressAt(subnet, gateway), length: subnet.length }))
}

/** What a lease means for an interface: its addresses with their networks, and the routers, which are ours. */
export function placesOf(
  lease: Pick<Lease, 'ip4' | 'ip6'>,
  { subnet4, subnet6, gateway }: AddressSpace
): { addresses: Prefix[]; gateways: Buffer[] } {
  const pairs = [
    [lease.ip4, subnet4],
    [lease.ip6, subnet6]
  ] as const
  return {
    addresses: pairs.flatMap(([address, subnet]) => (address && subnet ? [{ address, length: subnet.length }] : [])),
    gateways: pairs.flatMap(([address, subnet]) => (address && subnet ? [addressAt(subnet, gateway)] : []))
  }
}

/** What keeps addresses from a name that has none yet. */
export interface Reservations {
  /** Names whose leases must stay. */
  readonly inUse?: ReadonlySet<string>
  /** Whether somebody has an address without a lease. */
  readonly isTaken?: (ip: Buffer) => boolean
}

/**
 * Which name has which address. A name gets the address that it had; else the one that its hash says, or the next free
 * one, so that it is the same even when all this is lost. When none is free, the one that was out of use longest.
 */
export class Leases {
  readonly space: AddressSpace
  readonly #byName = new Map<string, Lease>()

  /** Takes over those leases that are in the space. */
  constructor(space: AddressSpace, leases: Iterable<Lease> = []) {
    this.space = space
    for (const lease of leases) if (this.#fits(lease)) this.#byName.set(lease.name, lease)
  }

  all(): Lease[] {
    return [...this.#byName.values()]
  }

  find(name: string): Lease | undefined {
    return this.#byName.get(name)
  }

  /** The lease of a name, made when there is none. Throws LimitsExceeded. */
  take(name: string, now: number, reservations: Reservations = {}): Lease {
    const lease = this.#byName.get(name) ?? this.#newLease(name, now, reservations)
    this.#byName.set(name, lease)
    lease.lastSeen = now
    return lease
  }

  /**
   * Gives a name these addresses from now on; a family that is left out stays as it is. Throws InvalidArgs for one that
   * is not the network's to give, FileExists for one that another name has.
   */
  fix(name: string, wanted: Pick<Lease, 'ip4' | 'ip6'>, now: number): Lease {
    const { ip4: own4, ip6: own6, ...before } = this.#byName.get(name) ?? this.#newLease(name, now)
    const { ip4 = own4, ip6 = own6 } = wanted
    const lease = { ...before, ip4, ip6, fixed: true }
    if (!this.#fits(lease)) throw new MachinedError('InvalidArgs', 'Address is not one that the network can give away')
    for (const other of this.#byName.values()) {
      if (other.name !== name && (same(other.ip4, ip4) || same(other.ip6, ip6))) {
        throw new MachinedError('FileExists', `Address is leased to machine '${other.name}' already`)
      }
    }
    this.#byName.set(name, lease)
    return lease
  }

  /** Forgets a name. Whether it was known. */
  drop(name: string): boolean {
    return this.#byName.delete(name)
  }

  /** Gives what a name has to another, which loses what it had. Whether it was known. */
  rename(name: string, newName: string): boolean {
    const lease = this.#byName.get(name)
    if (lease === undefined || !this.#byName.delete(name)) return false
    this.#byName.set(newName, { ...lease, name: newName })
    return true
  }

  #newLease(name: string, now: number, { inUse = new Set(), isTaken = () => false }: Reservations = {}): Lease {
    const offset = this.#freeOffset(name, isTaken) ?? this.#reclaim(inUse)
    return { name, ...this.#addressesAt(offset), mac: '', firstSeen: now, lastSeen: now, fixed: false }
  }

  /** Whether a machine may have the address so far into the subnet: not the network's, the host's nor the broadcast address. */
  #isHost(offset: bigint | undefined, size: number): boolean {
    return offset !== undefined && offset > 0n && offset < BigInt(size - 1) && offset !== BigInt(this.space.gateway)
  }

  #isForNames(offset: number): boolean {
    const [first, last] = this.space.dynamicRange
    const byte = offset % 256
    return this.#isHost(BigInt(offset), sizeOf(this.space.subnet4)) && (byte < first || byte > last)
  }

  #freeOffset(name: string, isTaken: (ip: Buffer) => boolean): number | undefined {
    const size = sizeOf(this.space.subnet4)
    const used = new Set(this.all().flatMap((lease) => this.#offsetsOf(lease)))
    const start = Number(siphash24(ADDRESS_KEY, Buffer.from(name)) % BigInt(size))
    for (let step = 0; step < size; step++) {
      const offset = (start + step) % size
      if (!this.#isForNames(offset) || used.has(offset)) continue
      const { ip4, ip6 } = this.#addressesAt(offset)
      if (![ip4, ip6].some((ip) => ip !== undefined && isTaken(ip))) return offset
    }
    return undefined
  }

  /** Takes away the lease that was not used for longest. */
  #reclaim(inUse: ReadonlySet<string>): number {
    const idle = this.all().filter(({ name, fixed }) => !fixed && !inUse.has(name))
    const oldest = idle.sort((a, b) => a.lastSeen - b.lastSeen)[0]
    if (oldest === undefined) throw new MachinedError('LimitsExceeded', 'No address is left in the network')
    this.#byName.delete(oldest.name)
    return this.#offsetsOf(oldest)[0] ?? 0
  }

  #addressesAt(offset: number): Pick<Lease, 'ip4' | 'ip6'> {
    const { subnet4, subnet6 } = this.space
    return {
      ip4: subnet4 === undefined ? undefined : addressAt(subnet4, offset),
      ip6: subnet6 === undefined ? undefined : addressAt(subnet6, offset)
    }
  }

  /** How far the addresses are into their subnets: one number, unless somebody has set them. */
  #offsetsOf({ ip4, ip6 }: Lease): number[] {
    const { subnet4, subnet6 } = this.space
    const offsets = [subnet4 && ip4 && offsetIn(subnet4, ip4), subnet6 && ip6 && offsetIn(subnet6, ip6)]
    return offsets.filter((offset) => offset !== undefined).map(Number)
  }

  #fits({ ip4, ip6 }: Pick<Lease, 'ip4' | 'ip6'>): boolean {
    const { subnet4, subnet6 } = this.space
    if ((ip4 === undefined) !== (subnet4 === undefined) || (ip6 === undefined) !== (subnet6 === undefined)) return false
    const isInside = (subnet: Prefix | undefined, ip: Buffer | undefined, size: number): boolean =>
      subnet === undefined || ip === undefined || this.#isHost(offsetIn(subnet, ip), size)
    const inside4 = isInside(subnet4, ip4, sizeOf(subnet4))
    const inside6 = isInside(subnet6, ip6, 2 ** 64)
    return inside4 && inside6
  }
}

function same(one: Buffer | undefined, other: Buffer | undefined): boolean {
  return one !== undefined && other?.equals(one) === true
}

import { addressAt, networkOf, overlap, type Prefix } from '../base/prefix.ts'
import { siphash24 } from '../base/siphash.ts'

/** Keys of the hashes, so that each thing that is derived from the machine's ID is independent of the others. */
const SUBNET_KEY = Buffer.from('6d616368696e65642d7375626e657434', 'hex')
const ULA_KEY = Buffer.from('6d616368696e65642d756c612d746f70', 'hex')
const MAC_KEY = Buffer.from('6d616368696e65642d6272696467652d', 'hex')

/** What a network's own numbers are derived from: the host and the name of the network. */
export interface Seed {
  /** 16 bytes. */
  readonly machineId: Buffer
  readonly network: string
}

/**
 * A subnet of the pool that overlaps nothing taken (networking.md 7.3). Begins at a place that depends on host and network
 * only, so that it is found again. Undefined when the pool is used up.
 */
export function pickSubnet(
  pool: readonly Prefix[],
  length: number,
  taken: readonly Prefix[],
  seed: Seed
): Prefix | undefined {
  const sizes = pool.map((prefix) => Math.floor(2 ** (length - prefix.length)))
  const total = sizes.reduce((sum, size) => sum + size, 0)
  if (total === 0) return undefined
  const start = Number(hash(SUBNET_KEY, seed) % BigInt(total))
  for (let step = 0; step < total; step++) {
    const subnet = subnetAt(pool, sizes, (start + step) % total, length)
    if (subnet !== undefined && !taken.some((other) => overlap(other, subnet))) return subnet
  }
  return undefined
}

function subnetAt(
  pool: readonly Prefix[],
  sizes: readonly number[],
  index: number,
  length: number
): Prefix | undefined {
  let rest = index
  for (const [at, prefix] of pool.entries()) {
    const size = sizes[at] ?? 0
    if (rest < size) return { address: addressAt(prefix, rest * 2 ** (32 - length)), length }
    rest -= size
  }
  return undefined
}

/** The unique local /64 of a network: the host gives 40 bits, the network's name 16 (RFC 4193). */
export function localSubnet({ machineId, network }: Seed): Prefix {
  const address = Buffer.alloc(16)
  address.writeUInt8(0xfd)
  address.writeUIntBE(Number(siphash24(ULA_KEY, machineId) & 0xffffffffffn), 1, 5)
  address.writeUInt16BE(Number(siphash24(ULA_KEY, Buffer.from(network)) & 0xffffn), 6)
  return networkOf({ address, length: 64 })
}

/** That one, or the next after it that overlaps nothing taken. */
export function pickLocalSubnet(seed: Seed, taken: readonly Prefix[]): Prefix {
  const subnet = localSubnet(seed)
  const { address } = subnet
  for (let step = 0; step < 2 ** 16 && taken.some((other) => overlap(other, subnet)); step++) {
    address.writeUInt16BE((address.readUInt16BE(6) + 1) % 2 ** 16, 6)
  }
  return subnet
}

/** The MAC address of a network's bridge. It is set, as it would else follow the ports. */
export function bridgeMac(seed: Seed): Buffer {
  const mac = Buffer.alloc(8)
  mac.writeBigUInt64BE(hash(MAC_KEY, seed))
  // Locally administered, and for one station.
  mac.writeUInt8((mac.readUInt8(0) & 0xfc) | 0x02, 0)
  return mac.subarray(0, 6)
}

function hash(key: Buffer, { machineId, network }: Seed): bigint {
  return siphash24(key, Buffer.concat([machineId, Buffer.from(network)]))
}

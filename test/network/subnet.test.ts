import fc from 'fast-check'
import t from 'tap'
import { formatPrefix, overlap, parsePrefix, type Prefix } from '../../daemon/base/prefix.ts'
import { networkDefaults } from '../../daemon/network/network-config.ts'
import { bridgeMac, localSubnet, pickLocalSubnet, pickSubnet } from '../../daemon/network/subnet.ts'

const { pool4 } = networkDefaults
const seeds = fc.record({
  machineId: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes)),
  network: fc.string({ minLength: 1, maxLength: 15 })
})
const subnets = fc
  .tuple(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.integer({ min: 4, max: 32 }))
  .map(([bytes, length]): Prefix => ({ address: Buffer.from(bytes), length }))

function prefix(text: string): Prefix {
  const found = parsePrefix(text)
  if (found === undefined) throw new Error(text)
  return found
}

t.test('a subnet is in the pool, overlaps nothing, and is found again', (t) => {
  fc.assert(
    fc.property(seeds, fc.array(subnets, { maxLength: 20 }), (seed, taken) => {
      const found = pickSubnet(pool4, 24, taken, seed)
      if (found === undefined) return pool4.every((prefix) => taken.some((other) => overlap(other, prefix)))
      return (
        found.length === 24 &&
        pool4.some((prefix) => overlap(prefix, found)) &&
        !taken.some((other) => overlap(other, found)) &&
        formatPrefix(pickSubnet(pool4, 24, taken, seed) ?? found) === formatPrefix(found)
      )
    }),
    { numRuns: 200 }
  )
  t.end()
})

t.test('what is taken elsewhere does not move a subnet', (t) => {
  fc.assert(
    fc.property(seeds, (seed) => {
      const free = pickSubnet(pool4, 24, [], seed)
      const other = pickSubnet(pool4, 24, [prefix('192.168.122.0/24'), prefix('172.17.0.0/16')], seed)
      return free !== undefined && other !== undefined && formatPrefix(free) === formatPrefix(other)
    })
  )
  t.end()
})

t.test('a pool that is used up gives nothing', (t) => {
  const seed = { machineId: Buffer.alloc(16), network: 'machines0' }
  t.equal(pickSubnet([prefix('10.0.0.0/23')], 24, [prefix('10.0.0.0/8')], seed), undefined)
  t.equal(pickSubnet([], 24, [], seed), undefined)
  t.equal(pickSubnet([prefix('10.0.0.0/25')], 24, [], seed), undefined, 'too small for one')
  const last = pickSubnet([prefix('10.0.0.0/23')], 24, [prefix('10.0.0.0/24')], seed)
  t.equal(last && formatPrefix(last), '10.0.1.0/24')
  t.end()
})

t.test('IPv6 subnets of several networks do not overlap, whatever their hashes', (t) => {
  fc.assert(
    fc.property(seeds, (seed) => {
      const found: Prefix[] = []
      // The last of the host's, and those that follow it.
      for (let count = 0; count < 4; count++) found.push(pickLocalSubnet(seed, found))
      const texts = new Set(found.map(formatPrefix))
      const site = { ...localSubnet(seed), length: 48 }
      return texts.size === 4 && found.every((subnet) => subnet.length === 64 && overlap(site, subnet))
    })
  )
  t.end()
})

t.test('IPv6 subnets are unique local ones, MAC addresses locally administered', (t) => {
  fc.assert(
    fc.property(seeds, (seed) => {
      const { address, length } = localSubnet(seed)
      const mac = bridgeMac(seed)
      return address[0] === 0xfd && length === 64 && mac.length === 6 && ((mac[0] ?? 0) & 3) === 2
    })
  )
  t.end()
})

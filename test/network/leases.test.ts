import fc from 'fast-check'
import t from 'tap'
import { formatIp, formatPrefix, offsetIn, parseIp, parsePrefix, type Prefix } from '../../daemon/base/prefix.ts'
import {
  gatewayOffset,
  gatewaysOf,
  Leases,
  placesOf,
  type AddressSpace,
  type Lease
} from '../../daemon/network/leases.ts'

function prefix(text: string): Prefix {
  const found = parsePrefix(text)
  if (found === undefined) throw new Error(text)
  return found
}

const space: AddressSpace = {
  subnet4: prefix('10.77.0.0/24'),
  subnet6: prefix('fd77::/64'),
  gateway: 1,
  dynamicRange: [200, 250]
}
const names = fc.uniqueArray(fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/), { maxLength: 150 })

function shown({ name, ip4, ip6 }: Lease): string {
  return `${name} ${ip4 ? formatIp(ip4) : '-'} ${ip6 ? formatIp(ip6) : '-'}`
}

t.test('each name has an address of its own, within what is given by name', (t) => {
  fc.assert(
    fc.property(names, (names) => {
      const leases = new Leases(space)
      const taken = names.map((name) => leases.take(name, 1))
      const offsets = taken.map(({ ip4 }) =>
        Number(offsetIn(space.subnet4 ?? prefix('0.0.0.0/0'), ip4 ?? Buffer.alloc(4)))
      )
      return (
        new Set(offsets).size === names.length &&
        offsets.every((offset) => offset >= 2 && offset < 255 && (offset < 200 || offset > 250)) &&
        taken.every(({ ip6 }, index) => ip6?.readUInt16BE(14) === offsets[index])
      )
    })
  )
  t.end()
})

t.test('a name keeps its address over a restart, and mostly when all is lost', (t) => {
  fc.assert(
    fc.property(names, (names) => {
      const leases = new Leases(space)
      const before = names.map((name) => shown(leases.take(name, 1)))
      const after = new Leases(space, leases.all())
      return before.every((text, index) => shown(after.take(names[index] ?? '', 2)) === text)
    })
  )
  for (const name of ['c1', 'web', 'a-rather-long-name-of-a-machine']) {
    t.equal(shown(new Leases(space).take(name, 1)), shown(new Leases(space).take(name, 9)), name)
  }
  t.end()
})

t.test("the address of the host is nobody else's, wherever in the subnet it is", (t) => {
  const at = (text: string): number | undefined => gatewayOffset(parseIp(text) ?? Buffer.alloc(4), space)
  t.equal(gatewayOffset('first', space), 1)
  t.equal(gatewayOffset('last', space), 254)
  t.strictSame([at('10.77.0.9'), at('fd77::9')], [9, 9])
  for (const text of ['10.77.0.0', '10.77.0.255', '10.78.0.1', 'fd77::1:0', 'fd78::1'])
    t.equal(at(text), undefined, text)
  const last = { ...space, subnet4: prefix('10.77.0.0/29'), gateway: 6 }
  t.strictSame(gatewaysOf(last).map(formatPrefix), ['10.77.0.6/29', 'fd77::6/64'])
  const leases = new Leases(last)
  const taken = ['a', 'b', 'c', 'd', 'e'].map((name) => formatIp(leases.take(name, 1).ip4 ?? Buffer.alloc(4)))
  t.strictSame(taken.sort(), ['10.77.0.1', '10.77.0.2', '10.77.0.3', '10.77.0.4', '10.77.0.5'])
  t.strictSame(placesOf(leases.take('a', 1), last).gateways.map(formatIp), ['10.77.0.6', 'fd77::6'])
  t.throws(() => leases.fix('a', { ip4: parseIp('10.77.0.6'), ip6: undefined }, 1), { code: 'InvalidArgs' })
  const before = new Leases(space, leases.all()).all()
  t.notOk(
    before.some(({ ip4 }) => ip4?.[3] === 1),
    'a lease with what has become the address of the host is over'
  )
  t.equal(before.length, 4)
  t.end()
})

t.test('when no address is left, the one out of use longest goes', (t) => {
  const small: AddressSpace = { ...space, subnet4: prefix('10.77.0.0/29') }
  const leases = new Leases(small)
  for (const [index, name] of ['a', 'b', 'c', 'd', 'e'].entries()) leases.take(name, index)
  leases.take('a', 10)
  const old = leases.find('b')?.ip4
  const fresh = leases.take('new', 11, { inUse: new Set(['a', 'c']) })
  t.ok(old !== undefined && fresh.ip4?.equals(old))
  t.equal(leases.find('b'), undefined)
  const all = new Set(['a', 'c', 'd', 'e', 'new'])
  t.throws(() => leases.take('more', 12, { inUse: all }), { code: 'LimitsExceeded' })
  t.end()
})

t.test('an address can be fixed, unless it is taken or not ours to give', (t) => {
  const leases = new Leases(space)
  const other = leases.take('other', 1)
  const ip6 = parseIp('fd77::1234')
  const fixed = leases.fix('web', { ip4: parseIp('10.77.0.210'), ip6 }, 1)
  t.equal(shown(leases.take('web', 2)), shown(fixed))
  t.throws(() => leases.fix('web', { ip4: other.ip4, ip6 }, 1), { code: 'FileExists', message: /'other'/ })
  for (const ip4 of ['10.77.0.1', '10.77.0.0', '10.77.0.255', '10.78.0.5']) {
    t.throws(() => leases.fix('web', { ip4: parseIp(ip4), ip6 }, 1), { code: 'InvalidArgs' }, ip4)
  }
  t.end()
})

t.test('leases of another subnet are forgotten', (t) => {
  const leases = new Leases(space)
  leases.take('web', 1)
  const moved = new Leases({ ...space, subnet4: prefix('10.78.0.0/24') }, leases.all())
  t.equal(moved.find('web'), undefined)
  t.match(moved.take('web', 2).ip4?.subarray(0, 3), Buffer.from([10, 78, 0]))
  t.end()
})

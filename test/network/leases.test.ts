import fc from 'fast-check'
import t from 'tap'
import { formatIp, offsetIn, parseIp, parsePrefix, type Prefix } from '../../daemon/base/prefix.ts'
import { Leases, type AddressSpace, type Lease } from '../../daemon/network/leases.ts'

function prefix(text: string): Prefix {
  const found = parsePrefix(text)
  if (found === undefined) throw new Error(text)
  return found
}

const space: AddressSpace = {
  subnet4: prefix('10.77.0.0/24'),
  subnet6: prefix('fd77::/64'),
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

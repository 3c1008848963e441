import t from 'tap'
import type { InterfaceAddress } from '../../daemon/linux/rtnetlink.ts'
import { reachable } from '../../daemon/machine/addresses.ts'

/** An address that differs from another by its last byte. */
function address(
  family: InterfaceAddress['family'],
  last: number,
  other: Partial<Pick<InterfaceAddress, 'scope' | 'interfaceIndex' | 'flags'>> = {}
): InterfaceAddress {
  const bytes = Buffer.alloc(family === 'ipv4' ? 4 : 16, 1)
  bytes[bytes.length - 1] = last
  return { family, flags: 0x80, scope: 0, interfaceIndex: 1, address: bytes, ...other }
}

t.test('IPv4 first, then by scope, interface and bytes', (t) => {
  const sorted = [
    address('ipv4', 9),
    address('ipv4', 200),
    address('ipv4', 3, { interfaceIndex: 2 }),
    address('ipv4', 2, { interfaceIndex: 10 }),
    address('ipv4', 1, { scope: 253 }),
    address('ipv6', 8),
    address('ipv6', 7, { scope: 200 }),
    address('ipv6', 6, { scope: 253 })
  ]
  t.strictSame(reachable(sorted.toReversed()), sorted)
  t.strictSame(reachable(sorted), sorted)
  t.end()
})

t.test('only addresses that others can use now', (t) => {
  const kept = [address('ipv6', 1, { scope: 252 }), address('ipv6', 2, { scope: 253 })]
  const addresses = [
    address('ipv4', 3, { scope: 254 }),
    address('ipv4', 4, { scope: 255 }),
    address('ipv6', 5, { flags: 0xa0 }),
    address('ipv6', 6, { flags: 0x40 }),
    ...kept
  ]
  t.strictSame(reachable(addresses), kept)
  t.end()
})

t.test('the same address twice counts once, on two interfaces twice', (t) => {
  const one = address('ipv4', 1)
  const elsewhere = address('ipv4', 1, { interfaceIndex: 2 })
  const listed = reachable([one, elsewhere, { ...one, flags: 0 }])
  t.strictSame(
    listed.map(({ interfaceIndex }) => interfaceIndex),
    [1, 2]
  )
  t.end()
})

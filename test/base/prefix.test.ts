import { isIP } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import {
  addressAt,
  formatIp,
  formatPrefix,
  networkOf,
  offsetIn,
  overlap,
  parseIp,
  parsePrefix,
  type Prefix
} from '../../daemon/base/prefix.ts'

const addresses = fc
  .oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 }))
  .map((bytes) => Buffer.from(bytes))
const prefixes = addresses.chain((address) =>
  fc.integer({ min: 0, max: address.length * 8 }).map((length): Prefix => ({ address, length }))
)

t.test('addresses are read as they are written', (t) => {
  fc.assert(fc.property(addresses, (address) => parseIp(formatIp(address))?.equals(address)))
  fc.assert(
    fc.property(
      prefixes,
      (prefix) => formatPrefix(parsePrefix(formatPrefix(prefix)) ?? prefix) === formatPrefix(prefix)
    )
  )
  for (const [text, canonical] of [
    ['::', '::'],
    ['::1', '::1'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['2001:db8:0:1:0:0:0:1', '2001:db8:0:1::1'],
    ['1:0:0:2:3:0:0:4', '1::2:3:0:0:4'],
    ['1:0:2:3:4:5:6:7', '1:0:2:3:4:5:6:7'],
    ['fe80::', 'fe80::'],
    ['::ffff:192.0.2.1', '::ffff:c000:201']
  ] as const) {
    t.equal(formatIp(parseIp(text) ?? Buffer.alloc(4)), canonical)
  }
  t.end()
})

t.test('what is no address is refused, as Node refuses it', (t) => {
  const near = fc.oneof(
    fc.ipV4(),
    fc.ipV6(),
    fc.stringMatching(/^[0-9a-f:.]{0,20}$/),
    fc.constantFrom('1.2.3', '1.2.3.4.5', '01.2.3.4', '256.1.1.1', '1::2::3', ':::', '1:', ':1', 'fe80::1%lo', '')
  )
  fc.assert(fc.property(near, (text) => (parseIp(text) !== undefined) === (isIP(text) !== 0 && !text.includes('%'))))
  for (const text of ['10.0.0.0', '10.0.0.0/', '10.0.0.0/33', '::/129', '10.0.0.0/8/8', '10.0.0.0/-1', '/8']) {
    t.equal(parsePrefix(text), undefined, text)
  }
  t.end()
})

t.test('networks hold their addresses and overlap when they share some', (t) => {
  fc.assert(
    fc.property(prefixes, (prefix) => {
      const offset = offsetIn(prefix, prefix.address)
      return (
        offset !== undefined && addressAt(prefix, offset).equals(prefix.address) && overlap(prefix, networkOf(prefix))
      )
    })
  )
  fc.assert(fc.property(prefixes, prefixes, (a, b) => overlap(a, b) === overlap(b, a)))
  const both = (a: string, b: string): boolean => {
    const [one, other] = [parsePrefix(a), parsePrefix(b)]
    return one !== undefined && other !== undefined && overlap(one, other)
  }
  t.ok(both('10.0.0.0/8', '10.200.7.0/24'))
  t.notOk(both('10.200.6.0/24', '10.200.7.0/24'))
  t.notOk(both('0.0.0.0/0', '::/0'))
  t.end()
})

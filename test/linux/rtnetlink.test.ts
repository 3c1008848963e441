import t from 'tap'
import { closeFd } from '../../daemon/linux/libc.ts'
import { NetworkNamespace } from '../../daemon/linux/namespace.ts'
import {
  dump,
  openRouteSocket,
  parseAddress,
  parseAttributes,
  parseMessages,
  readAddresses,
  type InterfaceAddress
} from '../../daemon/linux/rtnetlink.ts'
import { ThrowAwayNetwork } from './throw-away-network.ts'

const own = new NetworkNamespace()
t.teardown(() => {
  own.close()
})

function inside<T>(network: ThrowAwayNetwork, work: (socket: number) => T): T {
  const socket = own.inside(network.process, openRouteSocket)
  if (socket === undefined) throw new Error('It is our own namespace')
  try {
    return work(socket)
  } finally {
    closeFd(socket)
  }
}

function shown({ family, scope, interfaceIndex, flags, address }: InterfaceAddress): string {
  return `${family} ${address.toString('hex')} scope ${String(scope)} at ${String(interfaceIndex)} ${String(flags & 0x60)}`
}

/** As the kernel sends it. */
function message(type: number, body: Buffer, length = 16 + body.length): Buffer {
  const header = Buffer.alloc(16)
  header.writeUInt32LE(length, 0)
  header.writeUInt16LE(type, 4)
  header.writeUInt32LE(7, 8)
  return Buffer.concat([header, body])
}

function attribute(type: number, data: string, length = 4 + data.length / 2): Buffer {
  const header = Buffer.alloc(4)
  header.writeUInt16LE(length, 0)
  header.writeUInt16LE(type, 2)
  return Buffer.concat([header, Buffer.from(data, 'hex')])
}

/** struct ifaddrmsg: family, prefix length, flags, scope, index. */
const ipv4 = Buffer.from([2, 24, 0x80, 253, 5, 0, 0, 0])

t.test('addresses of another network namespace', { skip: process.getuid?.() !== 0 && 'needs root' }, async (t) => {
  const network = await ThrowAwayNetwork.start(`
    ip link set lo up
    ip link add d0 index 7 type veth peer name d1
    ip link set d0 up addrgenmode none
    ip address add 192.0.2.1/24 dev d0
    ip address add 192.0.2.2 peer 192.0.2.3 dev d0
    ip address add 2001:db8::1/64 dev d0 nodad
    ip address add 2001:db8::2 peer 2001:db8::3 dev d0 nodad
    ip address add fe80::4/64 dev d0 nodad
    ip address add 2001:db8::5/64 dev d0 nodad preferred_lft 0
  `)
  t.teardown(() => network.stop())
  t.strictSame(inside(network, readAddresses).map(shown).sort(), [
    'ipv4 7f000001 scope 254 at 1 0',
    'ipv4 c0000201 scope 0 at 7 0',
    'ipv4 c0000202 scope 0 at 7 0',
    'ipv6 00000000000000000000000000000001 scope 254 at 1 0',
    'ipv6 20010db8000000000000000000000001 scope 0 at 7 0',
    'ipv6 20010db8000000000000000000000002 scope 0 at 7 0',
    'ipv6 20010db8000000000000000000000005 scope 0 at 7 32',
    'ipv6 fe800000000000000000000000000004 scope 253 at 7 0'
  ])
})

t.test(
  'a dump of many datagrams is read whole, an endless one is refused',
  { skip: process.getuid?.() !== 0 && 'needs root' },
  async (t) => {
    const many = (count: number): string => `
    ip link add d0 type veth peer name d1
    awk 'BEGIN { for (i = 0; i < ${String(count)}; i++) printf "address add 10.%d.%d.%d/32 dev d0\\n", i / 65536, i / 256 % 256, i % 256 }' |
      ip -batch -
  `
    const network = await ThrowAwayNetwork.start(many(3000))
    t.teardown(() => network.stop())
    const found = inside(network, readAddresses)
    t.equal(new Set(found.map(shown)).size, 3000)
    const flooded = await ThrowAwayNetwork.start(many(17_000))
    t.teardown(() => flooded.stop())
    t.throws(() => inside(flooded, readAddresses), { code: 'ENOBUFS' })
  }
)

t.test('what the kernel refuses is an error with its errno', (t) => {
  const socket = openRouteSocket()
  t.teardown(() => {
    closeFd(socket)
  })
  t.throws(() => dump(socket, 2000, Buffer.alloc(8)), { code: 'ENOTSUP', syscall: 'netlink' })
  t.ok(
    readAddresses(socket).some(({ scope }) => scope === 254),
    'and the socket goes on'
  )
  t.end()
})

t.test('a datagram is cut into messages', (t) => {
  const datagram = Buffer.concat([message(20, Buffer.alloc(5)), Buffer.alloc(3), message(3, Buffer.alloc(4))])
  t.strictSame(
    [...parseMessages(datagram)].map(({ type, sequence, body }) => [type, sequence, body.length]),
    [
      [20, 7, 5],
      [3, 7, 4]
    ]
  )
  t.end()
})

t.test('garbage is refused', (t) => {
  const whole = message(20, Buffer.alloc(8))
  for (const bad of [whole.subarray(0, 15), whole.subarray(0, 20), message(20, ipv4, 15), message(20, ipv4, 25)]) {
    t.throws(() => [...parseMessages(bad)], { code: 'EBADMSG' })
  }
  for (const bad of [attribute(2, '', 3), attribute(2, 'c0000201', 9), attribute(2, '').subarray(0, 3)]) {
    t.throws(() => parseAttributes(bad), { code: 'EBADMSG' })
  }
  for (const bad of [
    Buffer.alloc(7),
    ipv4,
    Buffer.concat([ipv4, attribute(2, 'c00002')]),
    Buffer.concat([ipv4, attribute(2, 'c0000201c0000201')]),
    Buffer.concat([ipv4, attribute(2, 'c0000201'), attribute(8, '80')])
  ]) {
    t.throws(() => parseAddress(bad), { code: 'EBADMSG' })
  }
  t.end()
})

t.test('an address is the local end, its flags are those of the attribute', (t) => {
  const body = Buffer.concat([ipv4, attribute(1, 'c0000202'), attribute(2, 'c0000201'), attribute(8, 'a0020000')])
  t.match(parseAddress(body), { family: 'ipv4', scope: 253, interfaceIndex: 5, flags: 0x2a0 })
  t.equal(parseAddress(body)?.address.toString('hex'), 'c0000201')
  t.match(parseAddress(Buffer.concat([ipv4, attribute(1, 'c0000202')])), { flags: 0x80 })
  const phonet = Buffer.from([35, 0, 0, 0, 1, 0, 0, 0])
  t.equal(parseAddress(phonet), undefined, 'no other family is read')
  t.end()
})

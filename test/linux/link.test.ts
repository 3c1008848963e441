import t, { type Test } from 'tap'
import { parseIp, parsePrefix } from '../../daemon/base/prefix.ts'
import {
  changeLink,
  changePort,
  createBridge,
  createVeth,
  deleteLink,
  findLink,
  listLinks
} from '../../daemon/linux/link.ts'
import { NetworkNamespace } from '../../daemon/linux/namespace.ts'
import { NETLINK_ROUTE, RequestSocket } from '../../daemon/linux/netlink-request.ts'
import { addAddress, addDefaultRoute, listAddresses, listRoutes, removeAddress } from '../../daemon/linux/route.ts'
import { formatPrefix, type Prefix } from '../../daemon/base/prefix.ts'
import { ThrowAwayNetwork } from './throw-away-network.ts'

const isRoot = process.getuid?.() === 0
const own = new NetworkNamespace()
t.teardown(() => {
  own.close()
})

async function emptyNetwork(t: Test, script = '', most?: number): Promise<RequestSocket> {
  const network = await ThrowAwayNetwork.start(`ip link set lo up\n${script}`)
  const socket = own.inside(network.process, () => new RequestSocket(NETLINK_ROUTE, most))
  if (socket === undefined) throw new Error('It is our own namespace')
  t.teardown(() => {
    socket.close()
    return network.stop()
  })
  return socket
}

function prefix(text: string): Prefix {
  const found = parsePrefix(text)
  if (found === undefined) throw new Error(`No prefix: ${text}`)
  return found
}

void t.test(
  'a bridge with a port, an address and a route is made, seen and taken away',
  { skip: !isRoot && 'needs root' },
  async (t) => {
    const socket = await emptyNetwork(t)
    const mac = Buffer.from('02abcdef0123', 'hex')
    createBridge(socket, 'b0', mac, 1400)
    createVeth(socket, 'v0', 'v1')
    const bridge = findLink(socket, 'b0')
    const port = findLink(socket, 'v0')
    if (bridge === undefined || port === undefined) throw new Error('Nothing was made')
    t.match(bridge, { name: 'b0', kind: 'bridge', mtu: 1400, up: false, master: 0 })
    t.ok(bridge.mac.equals(mac))
    t.equal(findLink(socket, 'v1')?.index, port.peer)

    changeLink(socket, bridge, { up: true, noLinkLocal: true, group: 0x6d63, alias: 'machined:net=b0' })
    changeLink(socket, port, { master: bridge.index, up: true, mtu: 1400 })
    changePort(socket, port, { hairpin: true, isolated: true })
    t.match(findLink(socket, bridge.index), { up: true, group: 0x6d63, alias: 'machined:net=b0' })
    t.match(findLink(socket, port.index), { master: bridge.index, up: true, mtu: 1400, kind: 'veth' })
    t.strictSame(
      listLinks(socket)
        .map(({ name }) => name)
        .sort(),
      ['b0', 'lo', 'v0', 'v1']
    )

    for (const text of ['10.77.0.1/24', 'fd77::1/64']) {
      addAddress(socket, bridge, prefix(text))
      addAddress(socket, bridge, prefix(text))
    }
    const addresses = (): string[] =>
      listAddresses(socket)
        .filter(({ interfaceIndex }) => interfaceIndex === bridge.index)
        .map((found) => formatPrefix(found.prefix))
    t.strictSame(addresses(), ['10.77.0.1/24', 'fd77::1/64'], 'no link-local address among them')
    addDefaultRoute(socket, bridge, parseIp('10.77.0.9') ?? Buffer.alloc(0))
    addDefaultRoute(socket, bridge, parseIp('10.77.0.9') ?? Buffer.alloc(0))
    const routes = listRoutes(socket).map(({ destination }) => (destination ? formatPrefix(destination) : 'default'))
    t.ok(routes.includes('10.77.0.0/24'))
    t.ok(routes.includes('fd77::/64'))
    t.equal(routes.filter((route) => route === 'default').length, 1)
    removeAddress(socket, bridge, prefix('10.77.0.1/24'))
    removeAddress(socket, bridge, prefix('10.77.0.1/24'))
    t.strictSame(addresses(), ['fd77::1/64'])

    deleteLink(socket, bridge)
    deleteLink(socket, bridge)
    t.equal(findLink(socket, 'b0'), undefined)
  }
)

const MANY = 20_000
const MANY_ROUTES = `seq ${MANY} | while read -r n
  do echo "route add 10.$((n >> 8 & 255)).$((n & 255)).0/24 dev lo table $((n >> 16 | 100))"; done | ip -batch -`

void t.test('a router has more routes than a machine may have', { skip: !isRoot && 'needs root' }, async (t) => {
  const socket = await emptyNetwork(t, MANY_ROUTES)
  for (let turn = 0; turn < 2; turn++) {
    const routes = listRoutes(socket).filter(({ destination }) => destination?.length === 24)
    t.equal(routes.length, MANY)
    t.match(routes.at(-1), { interfaceIndex: 1, gateway: undefined, type: 1 })
  }
  const limited = await emptyNetwork(t, MANY_ROUTES, 16_384)
  t.throws(() => listRoutes(limited), { code: 'ENOBUFS' })
})

void t.test('what the kernel refuses is told in its own words', { skip: !isRoot && 'needs root' }, async (t) => {
  const socket = await emptyNetwork(t)
  const lo = { index: 1, name: 'lo' }
  t.throws(
    () => {
      addAddress(socket, lo, { address: Buffer.from([10, 0, 0, 1]), length: 40 })
    },
    {
      code: 'EINVAL',
      syscall: 'netlink',
      message: 'Failed to add address 10.0.0.1/40 to lo (ipv4: Invalid prefix length): Invalid argument'
    }
  )
  createBridge(socket, 'b0', Buffer.from('02abcdef0123', 'hex'), 1500)
  t.throws(
    () => {
      createBridge(socket, 'b0', Buffer.from('02abcdef0123', 'hex'), 1500)
    },
    {
      code: 'EEXIST',
      message: 'Failed to create bridge b0: File exists'
    }
  )
  t.throws(
    () => {
      changeLink(socket, { index: 4711, name: 'gone' }, { up: true })
    },
    { code: 'ENODEV' }
  )
  t.ok(listLinks(socket).length > 1, 'and the socket goes on')
})

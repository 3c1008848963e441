import t from 'tap'
import { parseIp } from '../../daemon/base/prefix.ts'
import { findLink } from '../../daemon/linux/link.ts'
import { NetworkNamespace } from '../../daemon/linux/namespace.ts'
import { findNeighbour, isAtBridge } from '../../daemon/linux/neighbour.ts'
import { RequestSocket } from '../../daemon/linux/netlink-request.ts'
import { ThrowAwayNetwork } from './throw-away-network.ts'

const SCRIPT = `
ip link add b0 type bridge
ip link add v0 master b0 type veth peer name v1
ip link set b0 up
ip link set v0 up
ip neigh add 10.1.1.2 lladdr 02:00:00:00:00:02 dev b0
ip neigh add fd00::2 lladdr 02:00:00:00:00:02 dev b0
bridge fdb add 02:00:00:00:00:02 dev v0 master static
`

void t.test('who is at a bridge', { skip: process.getuid?.() !== 0 && 'needs root' }, async (t) => {
  const network = await ThrowAwayNetwork.start(SCRIPT)
  using own = new NetworkNamespace()
  const socket = own.inside(network.process, () => new RequestSocket())
  t.teardown(() => {
    socket?.close()
    return network.stop()
  })
  const bridge = socket && findLink(socket, 'b0')
  if (socket === undefined || bridge === undefined) throw new Error('Nothing was made')
  const mac = Buffer.from('020000000002', 'hex')
  for (const [text, known] of Object.entries({
    '10.1.1.2': mac,
    'fd00::2': mac,
    '10.1.1.3': undefined,
    'fd00::3': undefined
  }))
    t.strictSame(findNeighbour(socket, bridge, parseIp(text) ?? Buffer.alloc(0)), known, text)
  t.ok(isAtBridge(socket, bridge, mac))
  t.notOk(isAtBridge(socket, bridge, Buffer.from('020000000003', 'hex')))
})

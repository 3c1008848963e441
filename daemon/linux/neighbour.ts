import type { Link } from './link.ts'
import type { RequestSocket } from './netlink-request.ts'
import { formatAttribute, parseAttributes } from './rtnetlink.ts'

const RTM_GETNEIGH = 30
const AF_INET = 2
const AF_BRIDGE = 7
const AF_INET6 = 10
const NDA_DST = 1
const NDA_LLADDR = 2
const NDA_MASTER = 9
const NDMSG_LENGTH = 12

/** The MAC address that the host knows for an IP address at a link; undefined when it knows none. Throws the kernel's other errors. */
export function findNeighbour(socket: RequestSocket, { index }: Pick<Link, 'index'>, ip: Buffer): Buffer | undefined {
  const body = Buffer.concat([header(ip.length === 16 ? AF_INET6 : AF_INET, index), formatAttribute(NDA_DST, ip)])
  const answer = ask(socket, 'Failed to look for a neighbour', body)
  return answer && parseAttributes(answer.subarray(NDMSG_LENGTH)).get(NDA_LLADDR)
}

/** Whether a bridge has seen frames of a MAC address lately, or has it itself. Throws the kernel's other errors. */
export function isAtBridge(socket: RequestSocket, { index }: Pick<Link, 'index'>, mac: Buffer): boolean {
  const master = Buffer.alloc(4)
  master.writeUInt32LE(index)
  const attributes = [formatAttribute(NDA_LLADDR, mac), formatAttribute(NDA_MASTER, master)]
  return ask(socket, 'Failed to look for a station', Buffer.concat([header(AF_BRIDGE, 0), ...attributes])) !== undefined
}

function ask(socket: RequestSocket, what: string, body: Buffer): Buffer | undefined {
  try {
    return socket.request(what, RTM_GETNEIGH, 0, body)[0]?.body
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return undefined
    throw error
  }
}

/** struct ndmsg */
function header(family: number, index: number): Buffer {
  const body = Buffer.alloc(NDMSG_LENGTH)
  body.writeUInt8(family, 0)
  body.writeInt32LE(index, 4)
  return body
}

import { type RequestSocket } from './netlink-request.ts'
import { formatAttribute, parseAttributes } from './rtnetlink.ts'

const IPCTNL_MSG_CT_GET = 0x0101
const IPCTNL_MSG_CT_DELETE = 0x0102
const AF_INET = 2
const AF_INET6 = 10
const NLA_F_NESTED = 0x8000

const CTA_TUPLE_ORIG = 1
const CTA_TUPLE_REPLY = 2
const CTA_ID = 12
const CTA_FILTER = 25
const CTA_FILTER_ORIG_FLAGS = 1
const CTA_FILTER_REPLY_FLAGS = 2
const CTA_TUPLE_IP = 1
const CTA_TUPLE_PROTO = 2
const CTA_IP = { 4: { source: 1, destination: 2 }, 16: { source: 3, destination: 4 } } as const
const CTA_PROTO_NUM = 1
const CTA_PROTO_SRC_PORT = 2
const CTA_PROTO_DST_PORT = 3
/** The kernel's own bits for what a filter compares. */
const BY_SOURCE = 1 << 0
const BY_PROTOCOL = 1 << 3
const BY_DESTINATION_PORT = 1 << 5

export const IPPROTO_UDP = 17

/** One end of a flow. */
export interface FlowEnd {
  readonly address: Buffer
  readonly port: number
}

/** A connection, or what is taken for one, that the kernel tracks (conntrack(8)). */
export interface Flow {
  readonly protocol: number
  /** Where its first packet was sent to. */
  readonly destination: FlowEnd
  /** Who answers: another than the destination where that was translated. */
  readonly answerer: FlowEnd
  /** What the kernel knows it by. */
  readonly key: Buffer
}

/** Which flows are meant, compared in the kernel: there may be hundreds of thousands. */
export type FlowFilter =
  | { readonly answerer: Buffer }
  | { readonly length: 4 | 16; readonly protocol: number; readonly port?: number | undefined }

/** All flows of this kind. Throws as RequestSocket.dump does; EOPNOTSUPP where the kernel cannot filter (before 5.8). */
export function listFlows(socket: RequestSocket, filter: FlowFilter): Flow[] {
  const length = 'answerer' in filter ? filter.answerer.length : filter.length
  const body = Buffer.concat([header(length), 'answerer' in filter ? byAnswerer(filter.answerer) : byPort(filter)])
  return socket
    .dump('Failed to list connections', IPCTNL_MSG_CT_GET, body)
    .map(({ body }) => parseFlow(body))
    .filter((flow) => flow !== undefined)
}

/** Makes the kernel forget a flow: its next packet is a first one. That it is gone already is no error. */
export function forgetFlow(socket: RequestSocket, { key, destination }: Flow): void {
  try {
    const body = Buffer.concat([header(destination.address.length), key])
    socket.request('Failed to forget a connection', IPCTNL_MSG_CT_DELETE, 0, body)
  } catch (error) {
    if ((error as { code?: string }).code !== 'ENOENT') throw error
  }
}

/** struct nfgenmsg */
function header(length: number): Buffer {
  return Buffer.from([length === 4 ? AF_INET : AF_INET6, 0, 0, 0])
}

function byAnswerer(address: Buffer): Buffer {
  const type = CTA_IP[address.length === 4 ? 4 : 16].source
  const tuple = nested(CTA_TUPLE_REPLY, nested(CTA_TUPLE_IP, formatAttribute(type, address)))
  return Buffer.concat([
    tuple,
    nested(CTA_FILTER, u32(CTA_FILTER_ORIG_FLAGS, 0), u32(CTA_FILTER_REPLY_FLAGS, BY_SOURCE))
  ])
}

function byPort({ protocol, port }: { readonly protocol: number; readonly port?: number | undefined }): Buffer {
  const number = formatAttribute(CTA_PROTO_NUM, Buffer.from([protocol]))
  const ports = port === undefined ? [] : [formatAttribute(CTA_PROTO_DST_PORT, Buffer.from([port >> 8, port & 0xff]))]
  const tuple = nested(CTA_TUPLE_ORIG, nested(CTA_TUPLE_PROTO, number, ...ports))
  const flags = BY_PROTOCOL | (port === undefined ? 0 : BY_DESTINATION_PORT)
  return Buffer.concat([tuple, nested(CTA_FILTER, u32(CTA_FILTER_ORIG_FLAGS, flags), u32(CTA_FILTER_REPLY_FLAGS, 0))])
}

function parseFlow(body: Buffer): Flow | undefined {
  const attributes = parseAttributes(body.subarray(4))
  const [original, reply, id] = [CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_ID].map((type) => attributes.get(type))
  if (original === undefined || reply === undefined) return undefined
  const [sent, answered] = [original, reply].map(parseAttributes)
  const destination = parseEnd(sent, 'destination')
  const answerer = parseEnd(answered, 'source')
  const protocol = parseAttributes(sent?.get(CTA_TUPLE_PROTO) ?? Buffer.alloc(0)).get(CTA_PROTO_NUM)?.[0]
  if (destination === undefined || answerer === undefined || protocol === undefined) return undefined
  const key = [nested(CTA_TUPLE_ORIG, original), ...(id === undefined ? [] : [formatAttribute(CTA_ID, id)])]
  return { protocol, destination, answerer, key: Buffer.concat(key) }
}

function parseEnd(tuple: Map<number, Buffer> | undefined, end: 'source' | 'destination'): FlowEnd | undefined {
  const ip = parseAttributes(tuple?.get(CTA_TUPLE_IP) ?? Buffer.alloc(0))
  const address = ip.get(CTA_IP[4][end]) ?? ip.get(CTA_IP[16][end])
  const ports = parseAttributes(tuple?.get(CTA_TUPLE_PROTO) ?? Buffer.alloc(0))
  const port = ports.get(end === 'source' ? CTA_PROTO_SRC_PORT : CTA_PROTO_DST_PORT)
  // ICMP has no ports.
  return address && { address, port: port?.length === 2 ? port.readUInt16BE() : 0 }
}

function nested(type: number, ...attributes: readonly Buffer[]): Buffer {
  return formatAttribute(type | NLA_F_NESTED, Buffer.concat(attributes))
}

function u32(type: number, value: number): Buffer {
  const buffer = Buffer.alloc(4)
  buffer.writeUInt32LE(value)
  return formatAttribute(type, buffer)
}

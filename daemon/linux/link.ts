import { netlinkPackage, type LinkTypes, type RouteTypes } from './netlink-package.ts'
import { NLM_F_CREATE, NLM_F_EXCL, type RequestSocket } from './netlink-request.ts'
import { formatAttribute } from './rtnetlink.ts'

const RTM_NEWLINK = 16
const RTM_DELLINK = 17
const RTM_GETLINK = 18
const RTM_NEWLINKPROP = 108
const AF_INET6 = 10
const IFLA_PROP_LIST = 52
const IFLA_ALT_IFNAME = 53
const NLA_F_NESTED = 0x8000
/** As ip(8) asks: made, and added to what there is. */
const LINKPROP_FLAGS = NLM_F_CREATE | NLM_F_EXCL | 0x800
const IFLA_INET6_ADDR_GEN_MODE = 8
const IN6_ADDR_GEN_MODE_NONE = 1
const IFLA_BRPORT_ISOLATED = 33

/** A network interface of the socket's namespace (rtnetlink(7), RTM_NEWLINK). */
export interface Link {
  readonly index: number
  readonly name: string
  readonly alternativeNames: readonly string[]
  /** `bridge`, `veth`, `tun` …; "" for a device of hardware. */
  readonly kind: string
  readonly mac: Buffer
  readonly mtu: number
  readonly up: boolean
  /** Index of the bridge or bond it belongs to, 0 for none. */
  readonly master: number
  /** For a veth the index of its other end, which may be in another namespace; 0 for none. */
  readonly peer: number
  readonly group: number
  /** What `ip link set alias` sets; "" for nothing. */
  readonly alias: string
}

/** What can be set on a link; what is left out stays. */
export interface LinkChange {
  readonly up?: boolean
  /** Index of the bridge that it becomes a port of, 0 for none. */
  readonly master?: number
  readonly mtu?: number
  readonly mac?: Buffer
  readonly group?: number
  readonly alias?: string
  /** Keeps the kernel from giving it an IPv6 link-local address. */
  readonly noLinkLocal?: boolean
}

/** What is set on a port of a bridge. */
export interface PortChange {
  /** Whether frames may leave by the port that they came from. */
  readonly hairpin: boolean
  /** Whether it is kept from other isolated ports. */
  readonly isolated: boolean
}

/** All links of the namespace. Throws as RequestSocket.dump does. */
export function listLinks(socket: RequestSocket): Link[] {
  const messages = socket.dump('Failed to list network interfaces', RTM_GETLINK, formatLink({}, {}))
  return messages.filter(({ type }) => type === RTM_NEWLINK).map(({ body }) => parseLink(body))
}

/** One link by index or name; undefined when there is none. Throws the kernel's other errors. */
export function findLink(socket: RequestSocket, key: number | string): Link | undefined {
  const request = typeof key === 'number' ? formatLink({ index: key }, {}) : formatLink({}, { ifname: key })
  try {
    const [answer] = socket.request(`Failed to look at network interface ${key}`, RTM_GETLINK, 0, request)
    return answer && parseLink(answer.body)
  } catch (error) {
    if ((error as { code?: string }).code === 'ENODEV') return undefined
    throw error
  }
}

/** Makes a bridge without spanning tree, down. Throws EEXIST when something of that name is there. */
export function createBridge(socket: RequestSocket, name: string, mac: Buffer, mtu: number): void {
  const data = bytes(ifla().formatBridge({ stpState: u32(0), forwardDelay: u32(0) }))
  const attrs = { ifname: name, address: mac, mtu, linkinfo: bytes(ifla().formatInfo({ kind: 'bridge', data })) }
  const body = formatLink({}, attrs)
  socket.request(`Failed to create bridge ${name}`, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)
}

/** Makes a pair of veths; each end in the namespace of the socket. Throws EEXIST. */
export function createVeth(socket: RequestSocket, name: string, peerName: string): void {
  const peer = formatLink({}, { ifname: peerName })
  const data = bytes(ifla().formatVethInfo({ peer }))
  const attrs = { ifname: name, linkinfo: bytes(ifla().formatInfo({ kind: 'veth', data })) }
  const body = formatLink({}, attrs)
  socket.request(`Failed to create veth ${name}`, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)
}

/** Changes a link, all in one step. `name` is for the error. */
export function changeLink(socket: RequestSocket, { index, name }: LinkName, change: LinkChange): void {
  const attrs: LinkTypes.LinkAttrs = {
    ...(change.master === undefined ? {} : { master: change.master }),
    ...(change.mtu === undefined ? {} : { mtu: change.mtu }),
    ...(change.mac === undefined ? {} : { address: change.mac }),
    ...(change.group === undefined ? {} : { group: change.group }),
    ...(change.alias === undefined ? {} : { ifalias: change.alias }),
    ...(change.noLinkLocal === true ? { afSpec: new Map([[AF_INET6, noAddressGeneration()]]) } : {})
  }
  const flags =
    change.up === undefined ? {} : { flags: change.up ? { up: true as const } : {}, change: { up: true as const } }
  const body = formatLink({ index, ...flags }, attrs)
  socket.request(`Failed to change network interface ${name}`, RTM_NEWLINK, 0, body)
}

/** Gives a link one more name to be found by, which may be longer than its own. Throws EEXIST when it is some link's. */
export function addAlternativeName(socket: RequestSocket, { index, name }: LinkName, other: string): void {
  const list = formatAttribute(IFLA_ALT_IFNAME, Buffer.from(`${other}\0`))
  // The package does not mark attributes that are made of others, which the kernel insists on here.
  const body = Buffer.concat([formatLink({ index }, {}), formatAttribute(IFLA_PROP_LIST | NLA_F_NESTED, list)])
  socket.request(`Failed to name network interface ${name} ${other}`, RTM_NEWLINKPROP, LINKPROP_FLAGS, body)
}

/** Changes a port of a bridge. */
export function changePort(socket: RequestSocket, { index, name }: LinkName, change: PortChange): void {
  const port = bytes(ifla().formatBridgePort({ mode: change.hairpin ? 1 : 0 }))
  // The package does not know this attribute, so it is put behind those that it does.
  const slaveData = Buffer.concat([port, formatAttribute(IFLA_BRPORT_ISOLATED, Buffer.from([change.isolated ? 1 : 0]))])
  const linkinfo = bytes(ifla().formatInfo({ slaveKind: 'bridge', slaveData }))
  socket.request(`Failed to change bridge port ${name}`, RTM_NEWLINK, 0, formatLink({ index }, { linkinfo }))
}

/** Removes a link. That it is gone already is no error. */
export function deleteLink(socket: RequestSocket, { index, name }: LinkName): void {
  try {
    socket.request(`Failed to remove network interface ${name}`, RTM_DELLINK, 0, formatLink({ index }, {}))
  } catch (error) {
    if ((error as { code?: string }).code !== 'ENODEV') throw error
  }
}

/** Its MAC address as it is written: `02:00:00:00:00:01`. */
export function macText({ mac }: Pick<Link, 'mac'>): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, '0')).join(':')
}

/** A link as its changes name it. */
export type LinkName = Pick<Link, 'index' | 'name'>

function ifla(): typeof LinkTypes {
  return netlinkPackage().ifla
}

function formatLink(data: RouteTypes.Link, attrs: LinkTypes.LinkAttrs): Buffer {
  const { AttrStream, rt } = netlinkPackage()
  const stream = new AttrStream()
  rt.formatLinkMessage({ kind: 'link', data, attrs }, stream)
  return Buffer.concat(stream.bufs)
}

/** Reads the body of RTM_NEWLINK. */
export function parseLink(body: Buffer): Link {
  const { data, attrs } = netlinkPackage().rt.parseLinkMessage(body)
  const info = attrs.linkinfo === undefined ? undefined : ifla().parseInfo(attrs.linkinfo)
  return {
    index: data.index ?? 0,
    name: attrs.ifname ?? '',
    alternativeNames: attrs.propList === undefined ? [] : alternativeNames(attrs.propList),
    kind: info?.kind ?? '',
    mac: Buffer.from(attrs.address ?? []),
    mtu: attrs.mtu ?? 0,
    up: data.flags?.up === true,
    master: attrs.master ?? 0,
    peer: attrs.link?.readUInt32LE() ?? 0,
    group: attrs.group ?? 0,
    alias: attrs.ifalias ?? ''
  }
}

/** A list of IFLA_ALT_IFNAME, one after the other. */
function alternativeNames(list: Buffer): string[] {
  const names: string[] = []
  for (let at = 0; at + 4 <= list.length;) {
    const length = list.readUInt16LE(at)
    if (length < 4) break
    names.push(list.toString('utf8', at + 4, at + length).replace(/\0+$/, ''))
    at += (length + 3) & ~3
  }
  return names
}

/** A codec's result as one buffer: the package wants attributes of attributes ready made. */
function bytes(data: Parameters<InstanceType<ReturnType<typeof netlinkPackage>['AttrStream']>['emit']>[0]): Buffer {
  const stream = new (netlinkPackage().AttrStream)()
  stream.emit(data)
  return Buffer.concat(stream.bufs)
}

function noAddressGeneration(): Buffer {
  return formatAttribute(IFLA_INET6_ADDR_GEN_MODE, Buffer.from([IN6_ADDR_GEN_MODE_NONE]))
}

function u32(value: number): Buffer {
  const buffer = Buffer.alloc(4)
  buffer.writeUInt32LE(value)
  return buffer
}

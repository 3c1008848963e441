import { constants as os } from 'node:os'
import { systemError } from '../base/errors.ts'
import { netlinkPackage, type RouteTypes } from './netlink-package.ts'
import { NLM_F_CREATE, NLM_F_REPLACE, type RequestSocket } from './netlink-request.ts'
import { parseAttributes } from './rtnetlink.ts'
import { formatPrefix, type Prefix } from '../base/prefix.ts'
import type { LinkName } from './link.ts'

const RTM_NEWADDR = 20
const RTM_DELADDR = 21
const RTM_GETADDR = 22
export const RTM_NEWROUTE = 24
export const RTM_DELROUTE = 25
const RTM_GETROUTE = 26
const AF_INET = 2
const AF_INET6 = 10
const RT_TABLE_MAIN = 254
/** Of struct rtmsg. */
const RTMSG_LENGTH = 12
const RTA_DST = 1
const RTA_OIF = 4
const RTA_GATEWAY = 5
export const RTN_UNICAST = 1
/** The protocol number that our routes carry, so that they can be told from others' (networking.md 7.4). */
// eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment -- the package's enum has only the well-known ones
export const ROUTE_PROTOCOL: RouteTypes.RouteProtocol = 109 as number

/** A network in a routing table, and where it leads. */
export interface Route {
  /** Undefined for a default route. */
  readonly destination: Prefix | undefined
  /** Index of the interface it leaves by, 0 for none or several. */
  readonly interfaceIndex: number
  /** The router on the way, if it is one of the same family. */
  readonly gateway: Buffer | undefined
  /** RTN_*: 1 unicast, 2 local, 3 broadcast, 5 multicast … */
  readonly type: number
}

/** An address of an interface with the network that it is in. */
export interface AddressPrefix {
  readonly interfaceIndex: number
  readonly prefix: Prefix
}

/** Adds an address to an interface, without duplicate address detection. That it is there already is no error. */
export function addAddress(socket: RequestSocket, link: LinkName, { address, length }: Prefix): void {
  const what = `Failed to add address ${formatPrefix({ address, length })} to ${link.name}`
  const data: RouteTypes.Address = {
    family: familyOf(address),
    prefixlen: length,
    index: link.index,
    flags: address.length === 16 ? { nodad: true } : {}
  }
  const attrs = address.length === 16 ? { address } : { local: address, address }
  socket.request(what, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, formatAddress(data, attrs))
}

/** Takes an address away. That it is gone is no error. */
export function removeAddress(socket: RequestSocket, link: LinkName, { address, length }: Prefix): void {
  const what = `Failed to remove address ${formatPrefix({ address, length })} from ${link.name}`
  const data = { family: familyOf(address), prefixlen: length, index: link.index }
  try {
    socket.request(what, RTM_DELADDR, 0, formatAddress(data, { local: address, address }))
  } catch (error) {
    if ((error as { code?: string }).code !== 'EADDRNOTAVAIL') throw error
  }
}

/** Makes a router the default one, through an interface. That such a route is there already is no error. */
export function addDefaultRoute(socket: RequestSocket, link: LinkName, gateway: Buffer): void {
  const data: RouteTypes.Route = {
    family: familyOf(gateway),
    dstLen: 0,
    table: RT_TABLE_MAIN,
    protocol: ROUTE_PROTOCOL,
    scope: 'UNIVERSE',
    type: 'UNICAST'
  }
  const stream = new (netlinkPackage().AttrStream)()
  netlinkPackage().rt.formatRouteMessage({ kind: 'route', data, attrs: { gateway, oif: link.index } }, stream)
  const what = `Failed to add the default route through ${link.name}`
  try {
    socket.request(what, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, Buffer.concat(stream.bufs))
  } catch (error) {
    if ((error as { code?: string }).code !== 'EEXIST') throw error
  }
}

/** All addresses with their networks. Throws as RequestSocket.dump does. */
export function listAddresses(socket: RequestSocket): AddressPrefix[] {
  const messages = socket.dump('Failed to list addresses', RTM_GETADDR, formatAddress({}, {}))
  return messages.flatMap(({ type, body }) => {
    if (type !== RTM_NEWADDR) return []
    const { data, attrs } = netlinkPackage().rt.parseAddressMessage(body)
    const address = attrs.local ?? attrs.address
    if (address === undefined) return []
    return [{ interfaceIndex: data.index ?? 0, prefix: { address: Buffer.from(address), length: data.prefixlen ?? 0 } }]
  })
}

/** Those of one interface. Throws as RequestSocket.dump does. */
export function listAddressesOf(socket: RequestSocket, { index }: { readonly index: number }): Prefix[] {
  const found = listAddresses(socket).filter(({ interfaceIndex }) => interfaceIndex === index)
  return found.map(({ prefix }) => prefix)
}

/** The routes of all tables. Throws as RequestSocket.dump does. */
export function listRoutes(socket: RequestSocket): Route[] {
  const stream = new (netlinkPackage().AttrStream)()
  netlinkPackage().rt.formatRouteMessage({ kind: 'route', data: {}, attrs: {} }, stream)
  const messages = socket.dump('Failed to list routes', RTM_GETROUTE, Buffer.concat(stream.bufs))
  return messages.filter(({ type }) => type === RTM_NEWROUTE).flatMap(({ body }) => parseRoute(body))
}

/**
 * Reads the body of RTM_NEWROUTE or RTM_DELROUTE; nothing for other families. Not with the package, which takes ten times as
 * long: a router has very many. Throws EBADMSG.
 */
export function parseRoute(body: Buffer): Route[] {
  if (body.length < RTMSG_LENGTH) throw systemError(os.errno.EBADMSG, 'netlink')
  const [family, length = 0] = body
  if (family !== AF_INET && family !== AF_INET6) return []
  const attributes = parseAttributes(body.subarray(RTMSG_LENGTH))
  const address = attributes.get(RTA_DST)
  const destination = address === undefined || length === 0 ? undefined : { address, length }
  const interfaceIndex = attributes.get(RTA_OIF)?.readUInt32LE() ?? 0
  return [{ destination, interfaceIndex, gateway: attributes.get(RTA_GATEWAY), type: body.readUInt8(7) }]
}

function formatAddress(data: RouteTypes.Address, attrs: RouteTypes.AddressAttrs): Buffer {
  const stream = new (netlinkPackage().AttrStream)()
  netlinkPackage().rt.formatAddressMessage({ kind: 'address', data, attrs }, stream)
  return Buffer.concat(stream.bufs)
}

function familyOf(address: Buffer): number {
  return address.length === 16 ? AF_INET6 : AF_INET
}

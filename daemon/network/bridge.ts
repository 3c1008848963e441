import { formatPrefix, type Prefix } from '../base/prefix.ts'
import { changeLink, createBridge, deleteLink, findLink, listLinks, type Link } from '../linux/link.ts'
import type { RequestSocket } from '../linux/netlink-request.ts'
import { addAddress, listAddresses, listRoutes, removeAddress } from '../linux/route.ts'
import { MachinedError } from '../base/errors.ts'

/** The group that links of ours are in, so that they can be told from others' (networking.md 7.4). */
export const OUR_GROUP = 0x6d63
const ALIAS = 'machined:'
/** Ours on every bridge, fe80::1/64; the anti-spoofing rules keep machines from it. */
const LINK_LOCAL: Prefix = { address: Buffer.from('fe800000000000000000000000000001', 'hex'), length: 64 }

/** What is wider says where packets go by default, as 0.0.0.0/1 and fc00::/7 do, and not what they are for. */
const WIDEST = 8

/** What a bridge is to be like. */
export interface BridgePlan {
  readonly name: string
  readonly mac: Buffer
  readonly mtu: number
  /** With the lengths of their networks. */
  readonly addresses: readonly Prefix[]
}

/** The tag of a link of ours, which says what for: `net` or `machine`, and its name. */
export function tagOf(kind: 'net' | 'machine', name: string): string {
  return `${ALIAS}${kind}=${name}`
}

/** Whether we made the link, or took it over. Nothing else is ever taken away. */
export function isOurs({ group, alias }: Link): boolean {
  return group === OUR_GROUP && alias.startsWith(ALIAS)
}

/**
 * Makes the bridge what the plan says; what is so already stays. Throws
 * FileExists when the name is somebody else's.
 */
export function ensureBridge(socket: RequestSocket, plan: BridgePlan): Link {
  const alias = tagOf('net', plan.name)
  if (findLink(socket, plan.name) === undefined) createBridge(socket, plan.name, plan.mac, plan.mtu)
  const bridge = findLink(socket, plan.name)
  if (bridge?.kind !== 'bridge' || !(isOurs(bridge) || isFresh(bridge, plan))) {
    throw new MachinedError('FileExists', `Network interface ${plan.name} is not ours`)
  }
  if (!bridge.up || bridge.alias !== alias || bridge.mtu !== plan.mtu) {
    changeLink(socket, bridge, { mtu: plan.mtu, mac: plan.mac, group: OUR_GROUP, alias, noLinkLocal: true })
  }
  setAddresses(socket, bridge, plan.addresses)
  if (!bridge.up) changeLink(socket, bridge, { up: true })
  return findLink(socket, bridge.index) ?? bridge
}

/** Just made, perhaps by a daemon that ended before it could tag it: nobody else makes one of this address. */
function isFresh(bridge: Link, plan: BridgePlan): boolean {
  return bridge.alias === '' && bridge.mac.equals(plan.mac)
}

function setAddresses(socket: RequestSocket, bridge: Link, addresses: readonly Prefix[]): void {
  const wanted = [...addresses]
  // The kernel asks for a neighbour with the address of a packet, if the bridge has it, else with the link-local one.
  if (addresses.some(({ address }) => address.length === 16)) wanted.push(LINK_LOCAL)
  const texts = new Set(wanted.map(formatPrefix))
  const present = listAddresses(socket).filter(({ interfaceIndex }) => interfaceIndex === bridge.index)
  for (const { prefix } of present) {
    const isLinkLocal = prefix.address.length === 16 && prefix.address.readUInt16BE() === 0xfe80
    if (!isLinkLocal && !texts.has(formatPrefix(prefix))) removeAddress(socket, bridge, prefix)
  }
  for (const prefix of wanted) addAddress(socket, bridge, prefix)
}

/** The networks that are taken on this host: those of routes in any table, and of addresses; not those of `except`. */
export function takenNetworks(socket: RequestSocket, except: number): Prefix[] {
  const routes = listRoutes(socket).filter(({ interfaceIndex }) => interfaceIndex !== except)
  const addresses = listAddresses(socket).filter(({ interfaceIndex }) => interfaceIndex !== except)
  const networks = [...routes.flatMap(({ destination }) => destination ?? []), ...addresses.map(({ prefix }) => prefix)]
  return networks.filter(({ length }) => length >= WIDEST)
}

/** The MTU of the link that the default route leaves by, within what bridges take; 1500 without one. */
export function uplinkMtu(socket: RequestSocket): number {
  const route = listRoutes(socket).find(({ destination, interfaceIndex }) => !destination && interfaceIndex > 0)
  const mtu = route === undefined ? undefined : findLink(socket, route.interfaceIndex)?.mtu
  return Math.min(Math.max(mtu ?? 1500, 1280), 9000)
}

/** Gives a port back: out of the bridge, down and without our tag. That it is gone is no error. */
export function releasePort(socket: RequestSocket, port: Pick<Link, 'index' | 'name'>): void {
  const link = findLink(socket, port.index)
  if (link === undefined || !isOurs(link)) return
  changeLink(socket, link, { master: 0, up: false, group: 0, alias: '' })
}

/** Takes away what is tagged as ours, but for the links that are kept. */
export function removeOrphans(socket: RequestSocket, kept: ReadonlySet<number>): void {
  const orphans = listLinks(socket).filter((link) => isOurs(link) && !kept.has(link.index))
  // Bridges last: where there is none, nobody looks for more.
  for (const link of orphans) if (link.kind !== 'bridge') releasePort(socket, link)
  for (const link of orphans) if (link.kind === 'bridge') deleteLink(socket, link)
}

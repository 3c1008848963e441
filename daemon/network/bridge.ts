import { formatPrefix, overlap, type Prefix } from '../base/prefix.ts'
import {
  addAlternativeName,
  changeLink,
  createBridge,
  deleteLink,
  findLink,
  listLinks,
  type Link
} from '../linux/link.ts'
import type { RequestSocket } from '../linux/netlink-request.ts'
import { addAddress, listAddresses, listAddressesOf, listRoutes, removeAddress } from '../linux/route.ts'
import { MachinedError } from '../base/errors.ts'
import { isZoneBridge, type NetworkIdentity } from './network-name.ts'

/** The group that links of ours are in, so that they can be told from others' (networking.md 7.4). */
export const OUR_GROUP = 0x6d63
const ALIAS = 'machined:'
/** Ours on every bridge, fe80::1/64; the anti-spoofing rules keep machines from it. */
const LINK_LOCAL: Prefix = { address: Buffer.from('fe800000000000000000000000000001', 'hex'), length: 64 }

/** What is wider says where packets go by default, as 0.0.0.0/1 and fc00::/7 do, and not what they are for. */
const WIDEST = 8

/** What a bridge is to be like. */
export interface BridgePlan {
  readonly identity: NetworkIdentity
  readonly mac: Buffer
  readonly mtu: number
  /** With the lengths of their networks. */
  readonly addresses: readonly Prefix[]
}

/** The tag of a link of ours, which says what for: `net` or `machine`, and its name. */
export function tagOf(kind: 'net' | 'machine', name: string): string {
  return `${ALIAS}${kind}=${name}`
}

/** The full name of the network that a bridge is tagged for; "" for none. */
export function networkOfTag({ alias }: Link): string {
  const start = tagOf('net', '')
  return alias.startsWith(start) ? alias.slice(start.length) : ''
}

/** Whether we made the link, or took it over. Nothing else is ever taken away. */
export function isOurs({ group, alias }: Link): boolean {
  return group === OUR_GROUP && alias.startsWith(ALIAS)
}

/**
 * Makes the bridge what the plan says; what is so already stays. That of a zone is there or not, as systemd-nspawn wants
 * it. Throws FileExists when the name is somebody else's, FileNotFound when a zone is gone.
 */
export function ensureBridge(socket: RequestSocket, plan: BridgePlan): Link {
  const { fullName, bridge: name, isZone } = plan.identity
  const alias = tagOf('net', fullName)
  if (!isZone && findLink(socket, name) === undefined) createBridge(socket, name, plan.mac, plan.mtu)
  const bridge = findLink(socket, name)
  if (isZone && bridge === undefined) throw new MachinedError('FileNotFound', `Network interface ${name} is gone`)
  if (bridge?.kind !== 'bridge' || !(isZone || isOurs(bridge) || isFresh(bridge, plan))) {
    throw new MachinedError('FileExists', `Network interface ${name} is not ours`)
  }
  if (!bridge.up || bridge.alias !== alias || bridge.mtu !== plan.mtu) {
    changeLink(socket, bridge, { mtu: plan.mtu, mac: plan.mac, group: OUR_GROUP, alias, noLinkLocal: true })
    if (name !== fullName && !bridge.alternativeNames.includes(fullName)) addAlternativeName(socket, bridge, fullName)
  }
  setAddresses(socket, bridge, plan)
  if (!bridge.up) changeLink(socket, bridge, { up: true })
  return findLink(socket, bridge.index) ?? bridge
}

/** Gives the bridge of a zone back, without our tag and without addresses of these subnets. That it is gone is no error. */
export function releaseZone(socket: RequestSocket, name: string, subnets: readonly Prefix[]): void {
  const bridge = findLink(socket, name)
  if (bridge === undefined || !isOurs(bridge)) return
  for (const prefix of listAddressesOf(socket, bridge)) {
    if (isIn(subnets, prefix) || formatPrefix(prefix) === formatPrefix(LINK_LOCAL))
      removeAddress(socket, bridge, prefix)
  }
  changeLink(socket, bridge, { group: 0, alias: '' })
}

/** Just made, perhaps by a daemon that ended before it could tag it: nobody else makes one of this address. */
function isFresh(bridge: Link, plan: BridgePlan): boolean {
  return bridge.alias === '' && bridge.mac.equals(plan.mac)
}

function setAddresses(socket: RequestSocket, bridge: Link, { addresses, identity }: BridgePlan): void {
  const wanted = [...addresses]
  // The kernel asks for a neighbour with the address of a packet, if the bridge has it, else with the link-local one.
  if (addresses.some(({ address }) => address.length === 16)) wanted.push(LINK_LOCAL)
  const texts = new Set(wanted.map(formatPrefix))
  for (const prefix of listAddressesOf(socket, bridge)) {
    const isLinkLocal = prefix.address.length === 16 && prefix.address.readUInt16BE() === 0xfe80
    // A zone may have some of an administrator.
    const isForeign = identity.isZone && !isIn(addresses, prefix)
    if (!isLinkLocal && !isForeign && !texts.has(formatPrefix(prefix))) removeAddress(socket, bridge, prefix)
  }
  for (const prefix of wanted) addAddress(socket, bridge, prefix)
}

function isIn(subnets: readonly Prefix[], prefix: Prefix): boolean {
  return subnets.some((subnet) => overlap(subnet, prefix))
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

/**
 * Gives a port back: without our tag, and where we made it a port, out of the bridge and down. A `vb-*` is one by
 * systemd-nspawn's doing. That it is gone is no error.
 */
export function releasePort(socket: RequestSocket, port: Pick<Link, 'index' | 'name'>): void {
  const link = findLink(socket, port.index)
  if (link === undefined || !isOurs(link)) return
  const place = link.name.startsWith('vb-') ? {} : { master: 0, up: false }
  changeLink(socket, link, { ...place, group: 0, alias: '' })
}

/** Takes away what is tagged as ours, but for the links that are kept. `releaseZone` is for bridges of zones. */
export function removeOrphans(
  socket: RequestSocket,
  kept: ReadonlySet<number>,
  releaseZone: (bridge: Link) => void
): void {
  const orphans = listLinks(socket).filter((link) => isOurs(link) && !kept.has(link.index))
  // Bridges last: where there is none, nobody looks for more.
  for (const link of orphans) if (link.kind !== 'bridge') releasePort(socket, link)
  for (const link of orphans) {
    if (link.kind !== 'bridge') continue
    if (isZoneBridge(link.name)) releaseZone(link)
    else deleteLink(socket, link)
  }
}

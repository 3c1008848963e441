import type { Link } from '../linux/link.ts'
import { changeLink, changePort, findLink, listLinks } from '../linux/link.ts'
import type { RequestSocket } from '../linux/netlink-request.ts'
import { getSysctl } from '../linux/sysctl.ts'
import { OUR_GROUP, tagOf } from './bridge.ts'
import { isZoneBridge } from './network-name.ts'

/** The host's end of a machine's link, and the bridge that it is a port of by somebody's doing. */
export interface Place {
  readonly port: Link
  readonly bridge: Link | undefined
}

/**
 * Where a machine's link is on the host: systemd-nspawn's `ve-*`, or its `vb-*` where it was told to use a bridge, if
 * that is one of those that `isMeant` says. A string says why there is none (networking.md 7.5).
 */
export function findPlace(
  socket: RequestSocket,
  machine: string,
  interfaces: readonly number[],
  isMeant: (bridge: Link) => boolean
): Place | string {
  const [index, ...others] = interfaces
  if (index === undefined) return 'it has no network interface on the host'
  if (others.length > 0) return 'it has several network interfaces'
  const link = findLink(socket, index)
  if (link === undefined) return 'its network interface is gone'
  if (link.kind === 'bridge') return isMeant(link) ? portOfBridge(socket, machine, link) : notOurs(link)
  if (link.kind !== 'veth' || !isNamedAfter(link, 've', machine)) return notOurs(link)
  const bridge = link.master === 0 ? undefined : findLink(socket, link.master)
  if (bridge === undefined || (isMeant(bridge) && !isZoneBridge(bridge.name))) return { port: link, bridge }
  return `${link.name} is a port of ${bridge.name}`
}

function notOurs({ name }: Link): string {
  return `${name} is not systemd-nspawn's veth`
}

function portOfBridge(socket: RequestSocket, machine: string, bridge: Link): Place | string {
  const ports = listLinks(socket).filter(({ master, kind }) => master === bridge.index && kind === 'veth')
  const port = ports.find((port) => isNamedAfter(port, 'vb', machine))
  return port === undefined ? `it has no port at ${bridge.name}` : { port, bridge }
}

/** Names that are too long for the kernel are cut, and stand in full beside it. */
function isNamedAfter({ name, alternativeNames }: Link, prefix: string, machine: string): boolean {
  const full = `${prefix}-${machine}`
  return name === full || alternativeNames.includes(full)
}

/** Whether the link is tagged as a machine's port of ours. */
export function isPortOf(link: Link, machine: string): boolean {
  return link.group === OUR_GROUP && link.alias === tagOf('machine', machine)
}

/** Makes a link a port of the bridge, up. */
export function joinBridge(socket: RequestSocket, port: Link, machine: string, bridge: Link): void {
  changeLink(socket, port, { group: OUR_GROUP, alias: tagOf('machine', machine), mtu: bridge.mtu, noLinkLocal: true })
  changeLink(socket, port, { master: bridge.index, up: true })
}

/** Makes a port one again that somebody took out of the bridge or shut down. One that is another bridge's by now stays there. */
export function holdPort(socket: RequestSocket, { index }: Pick<Link, 'index'>, machine: string, bridge: Link): void {
  const port = findLink(socket, index)
  if (port === undefined || (port.master !== 0 && port.master !== bridge.index)) return
  if (port.master === 0 || !port.up || !isPortOf(port, machine)) joinBridge(socket, port, machine, bridge)
}

/**
 * Sets what a port lets through. Only where it is needed do frames leave by the port they came from: a machine that
 * hears itself takes its own IPv6 addresses for somebody else's.
 */
export function tunePort(
  socket: RequestSocket,
  port: Link,
  { isolated, hasForwards }: { isolated: boolean; hasForwards: boolean }
): void {
  changePort(socket, port, { isolated, hairpin: hasForwards && frames() })
}

/** Whether frames on a bridge pass the rules for packets: then what a machine sends to itself leaves by the same port. */
function frames(): boolean {
  return getSysctl('net/bridge/bridge-nf-call-iptables') === '1'
}

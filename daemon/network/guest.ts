import { formatIp, formatPrefix, offsetIn, type Prefix } from '../base/prefix.ts'
import { changeLink, findLink, listLinks, type Link } from '../linux/link.ts'
import type { NetworkNamespace } from '../linux/namespace.ts'
import { NETLINK_ROUTE, RequestSocket } from '../linux/netlink-request.ts'
import type { PidRef } from '../linux/process.ts'
import {
  addAddress,
  addDefaultRoute,
  listAddressesOf,
  listRoutes,
  removeAddress,
  RTN_UNICAST,
  type Route
} from '../linux/route.ts'
import { MOST_MESSAGES } from '../linux/rtnetlink.ts'
import { setSysctl } from '../linux/sysctl.ts'
import type { GuestFile } from '../linux/jobs-write-files.ts'

/** What a machine's end of the link is to be like. */
export interface GuestPlan {
  /** The host's end. */
  readonly port: Pick<Link, 'index'>
  readonly mtu: number
  readonly addresses: readonly Prefix[]
  readonly gateways: readonly Buffer[]
}

function openSocket(): RequestSocket {
  return new RequestSocket(NETLINK_ROUTE, MOST_MESSAGES)
}

/** The machine's end of the link, or undefined when its leader has no network of its own, or no such end. */
export function findGuestLink(own: NetworkNamespace, leader: PidRef, port: Pick<Link, 'index'>): Link | undefined {
  return own.inside(leader, () => {
    using socket = openSocket()
    return listLinks(socket).find(({ kind, peer }) => kind === 'veth' && peer === port.index)
  })
}

/**
 * Sets addresses and routes inside the machine, as layer 1 of networking.md 7.1. All of it takes place between two
 * system calls of ours, and nothing in there can hold us up.
 */
export function injectAddresses(own: NetworkNamespace, leader: PidRef, guest: Link, plan: GuestPlan): void {
  own.inside(leader, () => {
    using socket = openSocket()
    const loopback = { index: 1, name: 'lo' }
    changeLink(socket, loopback, { up: true })
    for (const [name, value] of settingsOf(guest.name)) ignoreMissing(name, value)
    changeLink(socket, guest, { mtu: plan.mtu, up: true })
    for (const prefix of plan.addresses) addAddress(socket, guest, prefix)
    for (const gateway of plan.gateways) addDefaultRoute(socket, guest, gateway)
  })
}

/**
 * Whether the machine's end is up and has its addresses, and the machine as many ways out as it has gateways, whatever
 * else it has. Routes come last, so that a daemon that ended half-way is noticed.
 */
export function isInjected(own: NetworkNamespace, leader: PidRef, guest: Link, plan: GuestPlan): boolean {
  const found = own.inside(leader, () => {
    using socket = openSocket()
    if (findLink(socket, guest.index)?.up !== true) return false
    const present = new Set(listAddressesOf(socket, guest).map(formatPrefix))
    const waysOut = listRoutes(socket).filter(
      ({ destination, type }) => destination === undefined && type === RTN_UNICAST
    )
    if (waysOut.length < plan.gateways.length || waysOut.some((route) => isStale(route, plan))) return false
    return plan.addresses.every((prefix) => present.has(formatPrefix(prefix)))
  })
  return found === true
}

/** Whether a way out leads to what was the host's address in the network and is not any more. */
function isStale({ gateway }: Route, { addresses, gateways }: GuestPlan): boolean {
  if (gateway === undefined || gateways.some((present) => present.equals(gateway))) return false
  return addresses.some((prefix) => offsetIn(prefix, gateway) !== undefined)
}

/** Takes addresses away inside the machine. */
export function removeAddresses(
  own: NetworkNamespace,
  leader: PidRef,
  guest: Link,
  addresses: readonly Prefix[]
): void {
  own.inside(leader, () => {
    using socket = openSocket()
    for (const prefix of addresses) removeAddress(socket, guest, prefix)
  })
}

/** The address is known to be free, and its new bearer known to the neighbours at once. */
function settingsOf(name: string): [string, string][] {
  return [
    [`net/ipv6/conf/${name}/accept_ra`, '0'],
    [`net/ipv6/conf/${name}/accept_dad`, '0'],
    [`net/ipv4/conf/${name}/arp_notify`, '1']
  ]
}

function ignoreMissing(name: string, value: string): void {
  try {
    setSysctl(name, value)
  } catch {
    // A kernel without IPv6 has no such settings, and none of them is needed for the network to work.
  }
}

/** What tells the machine's networkd to keep the addresses (layer 2): between an administrator's files and the stock one. */
export function networkFile(guest: Link, { addresses, gateways }: GuestPlan): GuestFile {
  const lines = [
    '# Written by machined on the host.',
    '[Match]',
    `Name=${guest.name}`,
    'Kind=veth',
    '[Network]',
    'DHCP=no',
    'LinkLocalAddressing=ipv6',
    'IPv6AcceptRA=no',
    ...addresses.map(({ address, length }) => `Address=${formatIp(address)}/${length}`),
    ...gateways.map((gateway) => `Gateway=${formatIp(gateway)}`)
  ]
  return { directory: ['systemd', 'network'], name: '79-machined-host0.network', text: `${lines.join('\n')}\n` }
}

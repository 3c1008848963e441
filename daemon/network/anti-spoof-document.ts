import { formatIp } from '../base/prefix.ts'
import type { FirewallPort } from './firewall-state.ts'
import { chain, elementsOf, TABLE, type Ruleset } from './ruleset.ts'

/** The address that an advertisement is for, which it names apart from the sender's; nft 1.0 knows no word for it. */
const TARGET = '@th,64,128'
/** Its first ten bits, which are those of 0x3fa in all of fe80::/10. */
const TARGET_START = '@th,64,10'
/** By number, as a host need have no protocols(5). */
const ICMP6 = 58

/**
 * The table that lets into a bridge only frames with the MAC and IP addresses of the machine at the port (networking.md
 * 7.6). Sets, so that a frame costs the same whatever the number of machines.
 */
export function antiSpoofRules(ports: readonly FirewallPort[]): Ruleset {
  const known = ports.filter(({ mac }) => mac !== '')
  const lines = [
    set('ports', 'type ifname'),
    set('frames4', 'type ifname . ether_addr . ipv4_addr'),
    set('frames6', 'type ifname . ether_addr . ipv6_addr'),
    set('macs', 'type ifname . ether_addr'),
    set('addr4', 'type ifname . ipv4_addr'),
    set('addr6', 'type ifname . ipv6_addr'),
    set('targets', `typeof iifname . ${TARGET}`),
    chain('check', checks),
    chain('prerouting', ['type filter hook prerouting priority -300;', ...most, 'iifname @ports jump check'])
  ]
  const elements = {
    ports: known.map(quoted),
    frames4: known.flatMap((port) => pair(port, port.ip4 && `${port.mac} . ${formatIp(port.ip4)}`)),
    frames6: known.flatMap((port) => pair(port, port.ip6 && `${port.mac} . ${formatIp(port.ip6)}`)),
    macs: known.map((port) => `${quoted(port)} . ${port.mac}`),
    addr4: known.flatMap((port) => pair(port, port.ip4 && formatIp(port.ip4))),
    addr6: known.flatMap((port) => pair(port, port.ip6 && formatIp(port.ip6))),
    targets: known.flatMap((port) => pair(port, port.ip6 && `0x${port.ip6.toString('hex')}`))
  }
  return {
    frame: `table bridge ${TABLE} {\n${lines.join('\n')}\n}\n`,
    elements: new Map(Object.entries(elements).map(([name, keys]) => [`bridge ${TABLE} ${name}`, elementsOf(keys)]))
  }
}

/** What lets nearly all frames through, by one look-up: each expression of a rule takes its time with every frame. */
const most = [
  'ether type ip iifname . ether saddr . ip saddr @frames4 accept',
  `ether type ip6 meta l4proto != ${String(ICMP6)} iifname . ether saddr . ip6 saddr @frames6 accept`
]

/** What all others are asked. */
const checks = [
  'iifname . ether saddr != @macs drop',
  'ether type arp iifname . arp saddr ether != @macs drop',
  'ether type arp arp saddr ip != 0.0.0.0 iifname . arp saddr ip != @addr4 drop',
  'ether type ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept',
  'ether type ip iifname . ip saddr != @addr4 drop',
  'icmpv6 type { nd-router-advert, nd-redirect } drop',
  // The host's own.
  'ether type ip6 ip6 saddr fe80::1 drop',
  `icmpv6 type nd-neighbor-advert ${TARGET} 0xfe800000000000000000000000000001 drop`,
  `icmpv6 type nd-neighbor-advert ${TARGET_START} != 0x3fa iifname . ${TARGET} != @targets drop`,
  'ether type ip6 ip6 saddr != { ::, fe80::/10 } iifname . ip6 saddr != @addr6 drop'
]

function set(name: string, type: string): string {
  return `\tset ${name} { ${type}; }`
}

function quoted({ interfaceName }: FirewallPort): string {
  return `"${interfaceName}"`
}

/** None where the port has no such thing. */
function pair(port: FirewallPort, what: string | undefined): string[] {
  return what === undefined ? [] : [`${quoted(port)} . ${what}`]
}

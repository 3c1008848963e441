import { formatIp } from '../base/prefix.ts'
import type { FirewallPort, FirewallState } from './firewall-state.ts'

const TABLE = 'machined'
/** fe80::/10 as its first ten bits. */
const LINK_LOCAL = '@th,64,10 0x3fa'

/**
 * The table that lets into a bridge only frames with the MAC and IP addresses of the machine at the port (networking.md
 * 7.6); "" when that is not wanted. Sets, so that a frame costs the same whatever the number of machines.
 */
export function antiSpoofTable({ config, ports }: FirewallState): string {
  if (!config.antiSpoof) return ''
  const known = ports.filter(({ mac }) => mac !== '')
  const set = (name: string, type: string, values: readonly string[]): string =>
    `\tset ${name} { type ${type};${values.length === 0 ? '' : ` elements = { ${values.join(', ')} };`} }`
  const lines = [
    set('ports', 'ifname', known.map(quoted)),
    set(
      'macs',
      'ifname . ether_addr',
      known.map((port) => `${quoted(port)} . ${port.mac}`)
    ),
    set(
      'addr4',
      'ifname . ipv4_addr',
      known.flatMap((port) => pair(port, port.ip4))
    ),
    set(
      'addr6',
      'ifname . ipv6_addr',
      known.flatMap((port) => pair(port, port.ip6))
    ),
    ...known.map((port, index) => chain(`adverts_${index}`, adverts(port))),
    chain('check', [...checks, ...jumpsToAdverts(known), ...checksOfSource]),
    chain('prerouting', ['type filter hook prerouting priority -300;', 'iifname @ports jump check'])
  ]
  return `table bridge ${TABLE} {\n${lines.join('\n')}\n}\n`
}

/** What every frame is asked. */
const checks = [
  'iifname . ether saddr != @macs drop',
  'ether type arp iifname . arp saddr ether != @macs drop',
  'ether type arp arp saddr ip != 0.0.0.0 iifname . arp saddr ip != @addr4 drop',
  'ether type ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept',
  'ether type ip iifname . ip saddr != @addr4 drop',
  'icmpv6 type { nd-router-advert, nd-redirect } drop',
  // The host's own.
  'ether type ip6 ip6 saddr fe80::1 drop',
  'icmpv6 type nd-neighbor-advert @th,64,128 0xfe800000000000000000000000000001 drop'
]

const checksOfSource = ['ether type ip6 ip6 saddr != { ::, fe80::/10 } iifname . ip6 saddr != @addr6 drop']

function jumpsToAdverts(known: readonly FirewallPort[]): string[] {
  if (known.length === 0) return []
  const jumps = known.map((port, index) => `${quoted(port)} : jump adverts_${index}`)
  return [`icmpv6 type nd-neighbor-advert iifname vmap { ${jumps.join(', ')} }`]
}

function chain(name: string, lines: readonly string[]): string {
  return `\tchain ${name} {\n${lines.map((line) => `\t\t${line}\n`).join('')}\t}`
}

/** An advertisement names the address it is for apart from the sender's, and nft has no sets of such raw fields. */
function adverts({ ip6 }: FirewallPort): string[] {
  const own = ip6 === undefined ? [] : [`@th,64,128 0x${ip6.toString('hex')} return`]
  return [...own, `${LINK_LOCAL} return`, 'drop']
}

function quoted({ interfaceName }: FirewallPort): string {
  return `"${interfaceName}"`
}

function pair(port: FirewallPort, address: Buffer | undefined): string[] {
  return address === undefined ? [] : [`${quoted(port)} . ${formatIp(address)}`]
}

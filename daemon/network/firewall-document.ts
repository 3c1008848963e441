import { formatIp, formatPrefix, networkOf, type Prefix } from '../base/prefix.ts'
import { antiSpoofRules } from './anti-spoof-document.ts'
import type { ActiveForward, FirewallState } from './firewall-state.ts'
import { chain, elementsOf, TABLE, type Ruleset } from './ruleset.ts'

/** No rules: takes our tables away, also when there are none. `destroy` is unknown to nft 1.0. */
export const noRules: Ruleset = {
  frame: ['inet', 'bridge'].map((family) => `table ${family} ${TABLE}\ndelete table ${family} ${TABLE}\n`).join(''),
  elements: new Map()
}

/**
 * All rules of a network, which replace what was there (networking.md 7.6). Forwards are elements of maps, so that a
 * packet costs the same whatever their number.
 */
export function rulesFor(state: FirewallState): Ruleset {
  const lines = [...sets(), ...chains(state)]
  const guard = state.config.antiSpoof ? antiSpoofRules(state.ports) : undefined
  return {
    frame: `${noRules.frame}table inet ${TABLE} {\n${lines.join('\n')}\n}\n${guard?.frame ?? ''}`,
    elements: new Map([...elements(state), ...(guard?.elements ?? [])])
  }
}

interface Family {
  readonly digit: '4' | '6'
  readonly word: 'ip' | 'ip6'
  readonly nfproto: 'ipv4' | 'ipv6'
  readonly type: 'ipv4_addr' | 'ipv6_addr'
}

const families: readonly Family[] = [
  { digit: '4', word: 'ip', nfproto: 'ipv4', type: 'ipv4_addr' },
  { digit: '6', word: 'ip6', nfproto: 'ipv6', type: 'ipv6_addr' }
]

/** Each with its type. nft 1.0 has no maps to an address and a port together, so there are two side by side. */
const maps = new Map(
  families.flatMap(({ digit, type }) => {
    const [port, bound] = ['inet_proto . inet_service', `${type} . inet_proto . inet_service`]
    return [
      [`free${digit}_addr`, `${port} : ${type}`],
      [`free${digit}_port`, `${port} : inet_service`],
      [`bound${digit}_addr`, `${bound} : ${type}`],
      [`bound${digit}_port`, `${bound} : inet_service`]
    ]
  })
)

function sets(): string[] {
  return [...Array.from(maps, ([name, type]) => `\tmap ${name} { type ${type}; }`), '\tset kept { type inet_service; }']
}

function elements({ forwards, kept }: FirewallState): Map<string, Map<string, string>> {
  const found = new Map(Array.from(maps.keys(), (name) => [`inet ${TABLE} ${name}`, new Map<string, string>()]))
  for (const forward of forwards) for (const [map, key, value] of elementsFor(forward)) found.get(map)?.set(key, value)
  return found.set(`inet ${TABLE} kept`, elementsOf(kept))
}

/** An element with the map that it is in. */
type Element = readonly [map: string, key: string, value: string]

/** There may be thousands of forwards, of which one changes. */
const known = new WeakMap<ActiveForward, readonly Element[]>()

function elementsFor(forward: ActiveForward): readonly Element[] {
  let found = known.get(forward)
  if (found === undefined) {
    found = families.flatMap(({ digit }) => elementsOfFamily(forward, digit))
    known.set(forward, found)
  }
  return found
}

function elementsOfFamily(forward: ActiveForward, digit: Family['digit']): Element[] {
  const { address, protocol, first, last, target } = forward
  const to = digit === '4' ? forward.ip4 : forward.ip6
  if (to === undefined || (address !== undefined && address.length !== to.length)) return []
  const map = `inet ${TABLE} ${address === undefined ? 'free' : 'bound'}${digit}`
  const prefix = `${address === undefined ? '' : `${formatIp(address)} . `}${protocol}`
  const found: Element[] = []
  for (let port = first; port <= last; port++) {
    found.push([`${map}_addr`, `${prefix} . ${port}`, formatIp(to)])
    found.push([`${map}_port`, `${prefix} . ${port}`, String(target + port - first)])
  }
  return found
}

function chains(state: FirewallState): string[] {
  return [
    chain('nat_lookup', lookupRules),
    baseChain('nat_prerouting', 'nat hook prerouting priority -100', ['fib daddr type local jump nat_lookup']),
    baseChain('nat_output', 'nat hook output priority -100', outputRules(state)),
    baseChain('nat_postrouting', 'nat hook postrouting priority 100', masqueradeRules(state)),
    baseChain('raw_prerouting', 'filter hook prerouting priority -300', guardRules(state)),
    baseChain('filter_forward', 'filter hook forward priority 0', forwardRules(state)),
    baseChain('filter_input', 'filter hook input priority 0', inputRules(state))
  ]
}

function baseChain(name: string, hook: string, rules: readonly string[]): string {
  return chain(name, [`type ${hook};`, ...rules])
}

/** Where there is no element for a packet, the rule does nothing and the next one is asked. */
const lookupRules = families.flatMap(({ digit, word, nfproto }) => {
  const ports = 'meta l4proto . th dport'
  const start = `meta nfproto ${nfproto} meta l4proto { tcp, udp } dnat ${word} to`
  return [
    `${start} ${word} daddr . ${ports} map @bound${digit}_addr : ${word} daddr . ${ports} map @bound${digit}_port`,
    `${start} ${ports} map @free${digit}_addr : ${ports} map @free${digit}_port`
  ]
})

function outputRules({ config }: FirewallState): string[] {
  const loopback = 'ip daddr 127.0.0.0/8'
  return [
    config.localhostForward ? `${loopback} tcp dport @kept return` : `${loopback} return`,
    // From there the kernel routes nowhere else, so we ourselves pass it on.
    'ip6 daddr ::1 return',
    'fib daddr type local jump nat_lookup'
  ]
}

function masqueradeRules({ bridge, subnet4, subnet6, config }: FirewallState): string[] {
  const out = `oifname "${bridge}"`
  const rules = config.localhostForward ? [`${out} ip saddr 127.0.0.0/8 masquerade`] : []
  for (const { word, nfproto } of families) {
    const subnet = word === 'ip' ? subnet4 : subnet6
    if (subnet === undefined) continue
    const from = `${word} saddr ${formatPrefix(networkOf(subnet))}`
    // A machine that reaches a machine by an address of the host gets its answers back through the host.
    rules.push(`${out} ct status dnat ${from} masquerade`)
    if ((config.masquerade !== 'both' && config.masquerade !== nfproto) || isRouted(subnet)) continue
    const nowhere = word === 'ip' ? '{ 224.0.0.0/4, 255.255.255.255 }' : 'ff00::/8'
    rules.push(`oifname != "${bridge}" ${from} ${word} daddr != ${nowhere} masquerade`)
  }
  return rules
}

/** Whether the world knows the way to it: an IPv6 subnet that is no unique local one (networking.md 7.2). */
function isRouted({ address }: Prefix): boolean {
  return address.length === 16 && (address.readUInt8(0) & 0xfe) !== 0xfc
}

/** 127.0.0.0/8 is routed on the bridge for the answers to local clients, and must not be reached from there. */
function guardRules({ bridge }: FirewallState): string[] {
  return [`iifname "${bridge}" ip daddr 127.0.0.0/8 drop`]
}

function forwardRules({ bridge, config }: FirewallState): string[] {
  const [from, to] = [`iifname "${bridge}"`, `oifname "${bridge}"`]
  return [
    `${from} tcp flags syn tcp option maxseg size set rt mtu`,
    `${to} ct state established,related accept`,
    `${to} ct status dnat accept`,
    `${from} ${to} ${config.isolation === 'ports' ? 'drop' : 'accept'}`,
    `${from} accept`,
    `${to} drop`
  ]
}

function inputRules({ bridge, config }: FirewallState): string[] {
  if (config.hostAccess === 'yes') return []
  const from = `iifname "${bridge}"`
  // ICMP and ICMPv6: a host without /etc/protocols does not know the second by name.
  const kinds = config.hostAccess === 'services' ? '{ 1, 58 }' : undefined
  return [
    `${from} ct state established,related accept`,
    `${from} icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept`,
    ...(kinds === undefined ? [] : [`${from} meta l4proto ${kinds} accept`]),
    `${from} drop`
  ]
}

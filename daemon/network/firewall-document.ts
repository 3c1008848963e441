import { formatIp } from '../base/prefix.ts'
import { antiSpoofRules } from './anti-spoof-document.ts'
import { networkElements, networkSets } from './firewall-networks.ts'
import type { ActiveForward, FirewallState } from './firewall-state.ts'
import { chain, elementsOf, TABLE, type Ruleset } from './ruleset.ts'

/** No rules: takes our tables away, also when there are none. `destroy` is unknown to nft 1.0. */
export const noRules: Ruleset = {
  frame: ['inet', 'bridge'].map((family) => `table ${family} ${TABLE}\ndelete table ${family} ${TABLE}\n`).join(''),
  elements: new Map()
}

/**
 * All rules, which replace what was there (networking.md 7.6). Networks and forwards are elements of sets and maps, so that
 * a packet costs the same whatever their number, and one of them can come or go with all else staying.
 */
export function rulesFor(state: FirewallState): Ruleset {
  const sets = [...Array.from(maps, ([name, type]) => `\tmap ${name} { type ${type}; }`), ...networkSets]
  const lines = [...sets, '\tset kept { type inet_service; }', ...chains(state)]
  const guarded = state.networks.filter(({ config }) => config.antiSpoof)
  const guard = guarded.length > 0 ? antiSpoofRules(guarded.flatMap(({ ports }) => ports)) : undefined
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

function elements(state: FirewallState): Map<string, Map<string, string>> {
  const { forwards, kept } = state
  const found = new Map(Array.from(maps.keys(), (name) => [`inet ${TABLE} ${name}`, new Map<string, string>()]))
  for (const forward of forwards) for (const [map, key, value] of elementsFor(forward)) found.get(map)?.set(key, value)
  for (const [name, keys] of networkElements(state)) found.set(`inet ${TABLE} ${name}`, elementsOf(keys))
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
    baseChain('raw_prerouting', 'filter hook prerouting priority -300', guardRules),
    baseChain('filter_forward', 'filter hook forward priority 0', forwardRules),
    baseChain('filter_input', 'filter hook input priority 0', inputRules)
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

function outputRules({ localhostForward }: FirewallState): string[] {
  const loopback = 'ip daddr 127.0.0.0/8'
  return [
    localhostForward ? `${loopback} tcp dport @kept return` : `${loopback} return`,
    // From there the kernel routes nowhere else, so we ourselves pass it on.
    'ip6 daddr ::1 return',
    'fib daddr type local jump nat_lookup'
  ]
}

function masqueradeRules({ localhostForward }: FirewallState): string[] {
  return [
    ...(localhostForward ? ['oifname @ways ip saddr 127.0.0.0/8 masquerade'] : []),
    // A machine that reaches one of its network by an address of the host gets its answers back through the host.
    'ct status dnat oifname . ip saddr @own4 masquerade',
    'ct status dnat oifname . ip6 saddr @own6 masquerade',
    'oifname != @bridges ip saddr @hidden4 ip daddr != { 224.0.0.0/4, 255.255.255.255 } masquerade',
    'oifname != @bridges ip6 saddr @hidden6 ip6 daddr != ff00::/8 masquerade'
  ]
}

/** 127.0.0.0/8 is routed there for the answers to local clients, and must not be reached from there. */
const guardRules = ['iifname @ways ip daddr 127.0.0.0/8 drop']

const forwardRules = [
  'iifname @bridges tcp flags syn tcp option maxseg size set rt mtu',
  'oifname @bridges ct state established,related accept',
  'oifname @bridges ct status dnat accept',
  'iifname . oifname @within accept',
  'iifname @open oifname @open accept',
  'iifname @bridges oifname @bridges drop',
  'iifname @bridges accept',
  'oifname @bridges drop'
]

const inputRules = [
  'iifname @closed ct state established,related accept',
  'iifname @closed icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept',
  // ICMP and ICMPv6: a host without /etc/protocols does not know the second by name.
  'iifname @services meta l4proto { 1, 58 } accept',
  'iifname @closed drop'
]

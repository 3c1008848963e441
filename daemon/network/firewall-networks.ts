import { formatPrefix, networkOf, type Prefix } from '../base/prefix.ts'
import type { FirewallNetwork, FirewallState } from './firewall-state.ts'

/** The sets that say what there is of networks; the rules ask them. */
export const networkSets = [
  set('bridges', 'ifname'),
  // These, and what else leads to machines.
  set('ways', 'ifname'),
  // From where to where packets go within a network, and those that reach each other's.
  set('within', 'ifname . ifname'),
  set('open', 'ifname'),
  // What machines reach of the host: `closed` is nothing, but for `services`.
  set('closed', 'ifname'),
  set('services', 'ifname'),
  ...[4, 6].flatMap((digit) => [
    set(`own${digit}`, `ifname . ipv${digit}_addr`, 'interval'),
    // What the world sees by addresses of the host.
    set(`hidden${digit}`, `ipv${digit}_addr`, 'interval')
  ])
]

/** What is in them, by the name of the set. */
export function networkElements({
  networks,
  borrowed
}: Pick<FirewallState, 'networks' | 'borrowed'>): Map<string, string[]> {
  const bridgesOf = (isMeant: (network: FirewallNetwork) => boolean): string[] =>
    networks.filter(isMeant).map(({ bridge }) => `"${bridge}"`)
  const elements: Record<string, string[]> = {
    bridges: bridgesOf(() => true),
    ways: [...bridgesOf(() => true), ...borrowed.map(({ interfaceName }) => `"${interfaceName}"`)],
    within: bridgesOf(({ config }) => config.isolation !== 'ports').map((bridge) => `${bridge} . ${bridge}`),
    open: bridgesOf(({ config }) => config.isolation === 'none'),
    closed: bridgesOf(({ config }) => config.hostAccess !== 'yes'),
    services: bridgesOf(({ config }) => config.hostAccess === 'services')
  }
  for (const digit of ['4', '6'] as const) {
    const own = networks.map((network) => ({
      interfaceName: network.bridge,
      subnets: [network[`subnet${digit}`] ?? []].flat()
    }))
    elements[`own${digit}`] = [...own, ...borrowed].flatMap(({ interfaceName, subnets }) =>
      subnets.filter((subnet) => isOf(subnet, digit)).map((subnet) => `"${interfaceName}" . ${textOf(subnet)}`)
    )
    elements[`hidden${digit}`] = networks.flatMap((network) => {
      const subnet = network[`subnet${digit}`]
      return subnet !== undefined && isHidden(network, subnet, digit) ? [textOf(subnet)] : []
    })
  }
  return new Map(Object.entries(elements))
}

function isHidden({ config: { masquerade } }: FirewallNetwork, subnet: Prefix, digit: '4' | '6'): boolean {
  return (masquerade === 'both' || masquerade === `ipv${digit}`) && !isRouted(subnet)
}

function isOf({ address }: Prefix, digit: '4' | '6'): boolean {
  return address.length === (digit === '4' ? 4 : 16)
}

/** Whether the world knows the way to it: an IPv6 subnet that is no unique local one (networking.md 7.2). */
function isRouted({ address }: Prefix): boolean {
  return address.length === 16 && (address.readUInt8(0) & 0xfe) !== 0xfc
}

function textOf(subnet: Prefix): string {
  return formatPrefix(networkOf(subnet))
}

function set(name: string, type: string, flags?: string): string {
  return `\tset ${name} { type ${type}; ${flags === undefined ? '' : `flags ${flags}; `}}`
}

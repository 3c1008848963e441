import { parseIp, parsePrefix, type Prefix } from '../base/prefix.ts'

/** What machined.conf says about networks (networking.md 7.2). */
export interface NetworkConfig {
  /** Whether to see to the links of machines; `auto`: only while no systemd-networkd does. */
  readonly manage: 'auto' | 'yes' | 'no'
  /** Who sees to links and addresses: we, or systemd-networkd, in which case only ports are forwarded. */
  readonly backend: 'builtin' | 'networkd' | 'none'
  readonly bridge: string
  readonly subnet4: 'auto' | 'off' | Prefix
  readonly pool4: readonly Prefix[]
  /** Length of the subnets that are taken from the pool. */
  readonly prefix4: number
  readonly subnet6: 'ula' | 'off' | Prefix
  /** Which address of each subnet is the host's; one of either family says how far into both. */
  readonly gateway: 'first' | 'last' | Buffer
  /** Last bytes of the addresses that no machine gets by its name. */
  readonly dynamicRange: readonly [first: number, last: number]
  readonly mtu: 'auto' | number
  readonly masquerade: 'both' | 'ipv4' | 'ipv6' | 'no'
  /** Whom machines reach: those of other networks that say `none` as well, those of their own, or none. */
  readonly isolation: 'none' | 'network' | 'ports'
  readonly antiSpoof: boolean
  /** What machines may reach on the host; `services`: ICMP alone, as long as we serve neither DNS nor DHCP. */
  readonly hostAccess: 'yes' | 'services' | 'no'
  /** Whether addresses are set inside the machine before it starts. */
  readonly inject: boolean
  /** Whether the machine's networkd is told to keep them. */
  readonly dropIn: boolean
  /** Whether a machine that gets no network is refused. */
  readonly requireNetwork: boolean
  /** Whether firewalld, docker and ufw are told of the bridge. */
  readonly integration: 'auto' | 'no'
  /** Whether forwards answer at 127.0.0.1 and [::1]. */
  readonly localhostForward: boolean
}

/** A setting of a configuration file: where it goes, and how its text is read. `read` gives undefined for a bad value. */
interface Setting<K extends keyof NetworkConfig = keyof NetworkConfig> {
  readonly key: K
  readonly read: (text: string) => NetworkConfig[K] | undefined
}

function setting<K extends keyof NetworkConfig>(key: K, read: Setting<K>['read']): Setting {
  return { key, read }
}

/** Settings by section and name. */
export type NetworkSettings = Readonly<Record<string, Readonly<Record<string, Setting>>>>

/** What a network can have of its own. */
const ownSettings = {
  Subnet4: setting('subnet4', (text) => oneOf('auto', 'off')(text) ?? readSubnet(text, 4, 8, 29)),
  Pool4: setting('pool4', readPool),
  Prefix4: setting('prefix4', (text) => readNumber(text, 16, 29)),
  Subnet6: setting('subnet6', (text) => oneOf('ula', 'off')(text) ?? readSubnet(text, 16, 64, 64)),
  Gateway: setting('gateway', (text) => oneOf('first', 'last')(text) ?? parseIp(text)),
  DynamicRange: setting('dynamicRange', readRange),
  MTU: setting('mtu', (text) => oneOf('auto')(text) ?? readNumber(text, 1280, 65_535)),
  Masquerade: setting('masquerade', oneOf('both', 'ipv4', 'ipv6', 'no')),
  Isolation: setting('isolation', oneOf('none', 'network', 'ports')),
  AntiSpoof: setting('antiSpoof', readBoolean),
  HostAccess: setting('hostAccess', oneOf('yes', 'services', 'no')),
  Inject: setting('inject', readBoolean),
  DropIn: setting('dropIn', readBoolean),
  RequireNetwork: setting('requireNetwork', readBoolean)
}

/** Those of machined.conf. */
export const networkSettings: NetworkSettings = {
  Network: {
    Manage: setting('manage', oneOf('auto', 'yes', 'no')),
    Backend: setting('backend', oneOf('builtin', 'networkd', 'none')),
    Bridge: setting('bridge', readInterfaceName),
    ...ownSettings
  },
  Firewall: {
    Integration: setting('integration', oneOf('auto', 'no')),
    LocalhostForward: setting('localhostForward', readBoolean)
  }
}

/** Those of the file of one of several networks. */
export const ownNetworkSettings: NetworkSettings = { Network: ownSettings }

/** What holds without any configuration. */
export const networkDefaults: NetworkConfig = {
  manage: 'auto',
  backend: 'builtin',
  bridge: 'machines0',
  subnet4: 'auto',
  pool4: ['10.192.0.0/11', '172.30.0.0/15', '192.168.128.0/17'].flatMap((text) => parsePrefix(text) ?? []),
  prefix4: 24,
  subnet6: 'ula',
  gateway: 'first',
  dynamicRange: [200, 250],
  mtu: 'auto',
  masquerade: 'both',
  isolation: 'network',
  antiSpoof: true,
  hostAccess: 'yes',
  inject: true,
  dropIn: true,
  requireNetwork: false,
  integration: 'auto',
  localhostForward: true
}

/** What holds for a network beside the default one, whose own subnets and address are its own. */
export function baseForOthers(config: NetworkConfig, bridge: string): NetworkConfig {
  return {
    ...config,
    bridge,
    subnet4: config.subnet4 === 'off' ? 'off' : 'auto',
    subnet6: config.subnet6 === 'off' ? 'off' : 'ula',
    gateway: typeof config.gateway === 'string' ? config.gateway : 'first'
  }
}

function oneOf<const W extends string>(...words: readonly W[]): (text: string) => W | undefined {
  return (text) => words.find((word) => word === text)
}

/** The words of systemd.syntax(7) for truth. */
function readBoolean(text: string): boolean | undefined {
  if (/^(?:1|yes|y|true|t|on)$/i.test(text)) return true
  return /^(?:0|no|n|false|f|off)$/i.test(text) ? false : undefined
}

function readNumber(text: string, least: number, most: number): number | undefined {
  const value = /^\d{1,6}$/.test(text) ? Number(text) : NaN
  return value >= least && value <= most ? value : undefined
}

function readInterfaceName(text: string): string | undefined {
  return /^[A-Za-z][\w.-]{0,14}$/.test(text) ? text : undefined
}

function readSubnet(text: string, bytes: number, shortest: number, longest: number): Prefix | undefined {
  const prefix = parsePrefix(text)
  if (prefix?.address.length !== bytes) return undefined
  return prefix.length >= shortest && prefix.length <= longest ? prefix : undefined
}

function readPool(text: string): Prefix[] | undefined {
  const prefixes = text.split(/\s+/).map((word) => readSubnet(word, 4, 8, 24))
  const whole = prefixes.filter((prefix) => prefix !== undefined)
  return whole.length === prefixes.length ? whole : undefined
}

function readRange(text: string): [number, number] | undefined {
  const [, first, last] = /^(\d{1,3})-(\d{1,3})$/.exec(text) ?? []
  if (first === undefined || last === undefined) return undefined
  const range: [number, number] = [Number(first), Number(last)]
  return range[0] >= 2 && range[0] <= range[1] && range[1] <= 254 ? range : undefined
}

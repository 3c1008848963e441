import { siphash24 } from '../base/siphash.ts'

/** The network that machined.conf describes, and that machines are in which are not told otherwise. */
export const DEFAULT_NETWORK = 'default'
const OWN_PREFIX = 'mn-'
const ZONE_PREFIX = 'vz-'
/** Names of interfaces of the kernel: IFNAMSIZ without the final zero. */
const LONGEST = 15
/** What systemd-nspawn shortens names by, so that ours are cut alike (networking.md 1.3). */
const SHORTENING_KEY = Buffer.from('e190a404a8ef4b518cccc33a9f11fca2', 'hex')
const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

/** What a network is called, and by whom. */
export interface NetworkIdentity {
  /** By people: `default`, the name of its file, or for a zone that of its bridge. */
  readonly name: string
  /** The bridge in full, by which its subnets, addresses and leases go. */
  readonly fullName: string
  /** The bridge as the kernel calls it: the same, unless that is too long. */
  readonly bridge: string
  /** Whether the bridge is that of a zone of systemd-nspawn, which makes and removes it. */
  readonly isZone: boolean
}

/** Whether a network may be called so. */
export function isNetworkName(name: string): boolean {
  return /^[A-Za-z0-9][\w.-]{0,62}$/.test(name)
}

/** The default network, with the bridge that is configured for it. */
export function defaultIdentity(bridge: string): NetworkIdentity {
  return { name: DEFAULT_NETWORK, fullName: bridge, bridge, isZone: false }
}

/** A network that has a file of its own. */
export function namedIdentity(name: string): NetworkIdentity {
  const fullName = `${OWN_PREFIX}${name}`
  return { name, fullName, bridge: shortenInterfaceName(fullName), isZone: false }
}

/** The network of a zone of systemd-nspawn, by its bridge. */
export function zoneIdentity(bridge: string): NetworkIdentity {
  return { name: bridge, fullName: bridge, bridge, isZone: true }
}

/** The one whose bridge has this full name; undefined for one that was the default once. */
export function identityOf(fullName: string, defaultBridge: string): NetworkIdentity | undefined {
  if (fullName === defaultBridge) return defaultIdentity(defaultBridge)
  if (isZoneBridge(fullName)) return zoneIdentity(fullName)
  const name = fullName.startsWith(OWN_PREFIX) ? fullName.slice(OWN_PREFIX.length) : ''
  return isNetworkName(name) ? namedIdentity(name) : undefined
}

/** Whether an interface is called as the bridges of zones are. */
export function isZoneBridge(name: string): boolean {
  return name.startsWith(ZONE_PREFIX)
}

/** Whether an interface is called as bridges are that networks of ours may be at, apart from the default one. */
export function isBridgeName(name: string): boolean {
  return name.startsWith(OWN_PREFIX) || isZoneBridge(name)
}

/** What the kernel takes for a name that is too long for it: its begin, and letters that come out of the whole. */
export function shortenInterfaceName(name: string): string {
  if (Buffer.byteLength(name) <= LONGEST) return name
  const hash = Number(siphash24(SHORTENING_KEY, Buffer.from(name)) & 0xffffffn)
  const letters = [18, 12, 6, 0].map((shift) => LETTERS[(hash >> shift) & 63]).join('')
  return `${name.slice(0, LONGEST - letters.length)}${letters}`
}

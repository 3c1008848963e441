import type { Link } from '../linux/link.ts'
import type { NetworkNamespace } from '../linux/namespace.ts'
import { findGuestLink } from './guest.ts'
import type { HostSocket } from './host-socket.ts'
import type { KnownNetworks } from './known-networks.ts'
import type { LinkManagers } from './link-managers.ts'
import type { Ends } from './links.ts'
import { hasLinksToSee, type NetworkMember } from './member.ts'
import { isZoneBridge } from './network-name.ts'
import type { Network } from './network.ts'
import { findPlace, isPortOf } from './port.ts'

/** What is asked to find out where machines belong. */
export interface PlacementContext {
  readonly known: KnownNetworks
  readonly managers: LinkManagers
  readonly host: HostSocket
  readonly own: NetworkNamespace
  /** The network that is configured for the machine; undefined for the default one. */
  readonly networkName: () => string | undefined
}

/** A machine's link, and the network that it belongs to. */
export interface Placement {
  readonly network: Network
  readonly ends: Ends
}

/**
 * Which network a machine belongs to, if it has a link that is ours to manage (networking.md 7.5): that of the bridge
 * which its link is at, else the one that is configured. A string says why there is none. Throws FileNotFound when the
 * network is not there, and what the kernel says.
 */
export function placeMachine(member: NetworkMember, context: PlacementContext): Placement | string {
  const { known, managers, host, own } = context
  if (!hasLinksToSee(member)) return 'it is no container of root'
  const { name, leader, interfaces } = member
  const place = findPlace(host.requests, name, interfaces, (bridge) => known.at(bridge) !== undefined)
  if (typeof place === 'string') return place
  const { port, bridge } = place
  const guest = findGuestLink(own, leader, port)
  if (guest === undefined) return 'it has none of its own'
  // What was ours stays so: a networkd that was started since leaves it alone.
  if (!isPortOf(port, name) && !isFree(managers, bridge)) return 'others see to its link'
  if (managers.isConfigured(port.name)) return 'an administrator has told systemd-networkd about its link'
  const network = (bridge && known.at(bridge)) ?? known.named(context.networkName())
  return { network, ends: { name, leader, port, guest } }
}

/** Whether a link that nobody has seen to yet is for us to see to. */
function isFree(managers: LinkManagers, bridge: Link | undefined): boolean {
  const isZone = bridge !== undefined && isZoneBridge(bridge.name)
  return managers.leaveLinksToUs && !(isZone && managers.hasNetworkd)
}

import { MachinedError, explain } from '../base/errors.ts'
import { closeFd } from '../linux/libc.ts'
import type { NetworkNamespace } from '../linux/namespace.ts'
import { openRouteSocket, readAddresses, type InterfaceAddress } from '../linux/rtnetlink.ts'
import { leaderOfContainer, type Machine } from './machine.ts'

const IFA_F_DEPRECATED = 0x20
const IFA_F_TENTATIVE = 0x40
const RT_SCOPE_HOST = 254

/**
 * The addresses that a machine can be reached by, best first (spec/dbus.md 7.1). Throws NoPrivateNetworking for a
 * container that shares our network, NotSupported for what is neither container nor host, the kernel's errors.
 */
export function addressesOf(machine: Machine, own: NetworkNamespace): InterfaceAddress[] {
  try {
    const socket = socketInside(machine, own)
    try {
      return reachable(readAddresses(socket))
    } finally {
      closeFd(socket)
    }
  } catch (error) {
    throw explain('Failed to get addresses', error)
  }
}

function socketInside(machine: Machine, own: NetworkNamespace): number {
  if (machine.class === 'host') return openRouteSocket()
  const leader = leaderOfContainer(machine, 'Requesting IP address data')
  const socket = own.inside(leader, openRouteSocket)
  if (socket !== undefined) return socket
  throw new MachinedError('NoPrivateNetworking', `Machine ${machine.name} does not use private networking`)
}

/** Leaves out what is of no use to others, sorts, and drops doubles. */
export function reachable(addresses: readonly InterfaceAddress[]): InterfaceAddress[] {
  const usable = addresses.filter(
    ({ flags, scope }) => (flags & (IFA_F_DEPRECATED | IFA_F_TENTATIVE)) === 0 && scope < RT_SCOPE_HOST
  )
  const sorted = usable.sort(compare)
  return sorted.filter((address, index) => index === 0 || compare(address, sorted[index - 1] ?? address) !== 0)
}

/** IPv4 first, then the widest scope, then as the interfaces came. */
function compare(a: InterfaceAddress, b: InterfaceAddress): number {
  return (
    a.address.length - b.address.length ||
    a.scope - b.scope ||
    a.interfaceIndex - b.interfaceIndex ||
    a.address.compare(b.address)
  )
}

import { MachinedError, explain } from '../base/errors.ts'
import { openAddressSocket } from '../linux/address-watch.ts'
import { closeFd } from '../linux/libc.ts'
import { namespaceName, type NetworkNamespace } from '../linux/namespace.ts'
import type { PidRef } from '../linux/process.ts'
import { pollReadable } from '../linux/readiness.ts'
import { isUsable, readOwnAddresses, type InterfaceAddress } from '../linux/rtnetlink.ts'
import { leaderOfContainer, type Machine } from './machine.ts'
import type { Machines } from './machines.ts'

const RT_SCOPE_HOST = 254

/**
 * The addresses that machines can be reached by. To go into a machine's network and to ask there takes as long as all else of a
 * call, so what was read is remembered until the kernel says that an address changed in there.
 */
export class Addresses {
  readonly #own: NetworkNamespace
  readonly #memories = new Map<Machine, Memory>()

  /** `own` stays the caller's. */
  constructor(machines: Machines, own: NetworkNamespace) {
    this.#own = own
    machines.on('removed', (machine) => {
      this.#forget(machine)
    })
  }

  /**
   * Those of a machine, best first (spec/dbus.md 7.1). Throws NoPrivateNetworking for a container that shares our network,
   * NotSupported for what is neither container nor host, the kernel's errors.
   */
  of(machine: Machine): readonly InterfaceAddress[] {
    try {
      if (machine.class === 'host') return readReachable()
      const leader = leaderOfContainer(machine, 'Requesting IP address data')
      const namespace = namespaceName(leader, 'net')
      if (namespace === this.#own.name) throw notPrivate(machine)
      return this.#memories.get(machine)?.addressesIn(namespace) ?? this.#read(machine, leader)
    } catch (error) {
      throw explain('Failed to get addresses', error)
    }
  }

  #read(machine: Machine, leader: PidRef): readonly InterfaceAddress[] {
    this.#forget(machine)
    const memory = this.#own.inside(leader, Memory.make)
    if (memory === undefined) throw notPrivate(machine)
    this.#memories.set(machine, memory)
    return memory.addresses
  }

  #forget(machine: Machine): void {
    this.#memories.get(machine)?.[Symbol.dispose]()
    this.#memories.delete(machine)
  }
}

/** What was read in a network namespace, and a socket there that has not heard of changes since. */
class Memory {
  readonly #namespace: string
  readonly #changes: number
  readonly addresses: readonly InterfaceAddress[]

  private constructor(namespace: string, changes: number, addresses: readonly InterfaceAddress[]) {
    this.#namespace = namespace
    this.#changes = changes
    this.addresses = addresses
  }

  /** Reads in the calling thread's network namespace, whose name is to be told. */
  static readonly make = (namespace: string): Memory => {
    // From before it is read, lest a change in between is missed.
    const changes = openAddressSocket()
    try {
      return new Memory(namespace, changes, readReachable())
    } catch (error) {
      closeFd(changes)
      throw error
    }
  }

  /** What was read, while it is known to be so still; undefined in another namespace. */
  addressesIn(namespace: string): readonly InterfaceAddress[] | undefined {
    return namespace === this.#namespace && !pollReadable(this.#changes) ? this.addresses : undefined
  }

  [Symbol.dispose](): void {
    closeFd(this.#changes)
  }
}

function notPrivate({ name }: Machine): MachinedError {
  return new MachinedError('NoPrivateNetworking', `Machine ${name} does not use private networking`)
}

function readReachable(): InterfaceAddress[] {
  return reachable(readOwnAddresses())
}

/** Leaves out what is of no use to others, sorts, and drops doubles. */
export function reachable(addresses: readonly InterfaceAddress[]): InterfaceAddress[] {
  const usable = addresses.filter((address) => isUsable(address) && address.scope < RT_SCOPE_HOST)
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

import { log } from '../base/log.ts'
import { AddressWatch, openAddressSocket } from '../linux/address-watch.ts'
import type { NetworkNamespace } from '../linux/namespace.ts'
import type { InterfaceAddress } from '../linux/rtnetlink.ts'
import type { Addresses } from './addresses.ts'
import type { Machine } from './machine.ts'
import type { Machines } from './machines.ts'

export type NewsKind = 'present' | 'new' | 'removed' | 'state' | 'addresses'

/** What somebody who follows machines is told. */
export interface News {
  readonly kind: NewsKind
  readonly machine: Machine
  /** Those that the machine can be reached by; undefined where they cannot be known. */
  readonly addresses: readonly InterfaceAddress[] | undefined
}

/** What the news are of. */
interface Sources {
  readonly machines: Machines
  readonly network: NetworkNamespace
  readonly addresses: Addresses
}

/** Follows machines for one listener: all, or the one of a name. Begins with those that are there. */
export class MachineNews {
  readonly #machines: Machines
  readonly #network: NetworkNamespace
  readonly #known: Addresses
  readonly #tell: (news: News) => void
  readonly #wanted: (machine: Machine) => boolean
  readonly #watches = new Map<Machine, { watch: AddressWatch; last: string }>()

  constructor(
    { machines, network, addresses }: Sources,
    { name, tell }: { readonly name: string | undefined; readonly tell: (news: News) => void }
  ) {
    this.#machines = machines
    this.#network = network
    this.#known = addresses
    this.#tell = tell
    this.#wanted = (machine) => name === undefined || machine.name === name
    for (const machine of machines.all()) this.#begin('present', machine)
    machines.on('new', this.#onNew).on('removed', this.#onRemoved).on('changed', this.#onChanged)
  }

  close(): void {
    this.#machines.off('new', this.#onNew).off('removed', this.#onRemoved).off('changed', this.#onChanged)
    for (const { watch } of this.#watches.values()) watch.close()
    this.#watches.clear()
  }

  readonly #onNew = (machine: Machine): void => {
    this.#begin('new', machine)
  }

  readonly #onChanged = (machine: Machine): void => {
    if (this.#wanted(machine)) this.#tell({ kind: 'state', machine, addresses: this.#addresses(machine) })
  }

  readonly #onRemoved = (machine: Machine): void => {
    this.#watches.get(machine)?.watch.close()
    this.#watches.delete(machine)
    if (this.#wanted(machine)) this.#tell({ kind: 'removed', machine, addresses: undefined })
  }

  #begin(kind: NewsKind, machine: Machine): void {
    if (!this.#wanted(machine) || !machine.started) return
    // Before the addresses are read, so that no change is missed.
    this.#watch(machine)
    const addresses = this.#addresses(machine)
    const watched = this.#watches.get(machine)
    if (watched !== undefined) watched.last = fingerprint(addresses)
    this.#tell({ kind, machine, addresses })
  }

  #watch(machine: Machine): void {
    const { leader } = machine.registration
    if (machine.class === 'vm' || leader === undefined) return
    try {
      const socket = machine.class === 'host' ? openAddressSocket() : this.#network.inside(leader, openAddressSocket)
      // One that shares our network has no addresses of its own.
      if (socket === undefined) return
      const watch = new AddressWatch(socket, () => {
        this.#look(machine)
      })
      this.#watches.set(machine, { watch, last: '' })
    } catch (error) {
      log.debug({ NAME: machine.name, err: error }, `Cannot watch the addresses of machine ${machine.name}`)
    }
  }

  /** The kernel tells of every change of every address; only those that are to be seen are news. */
  #look(machine: Machine): void {
    const watched = this.#watches.get(machine)
    const addresses = this.#addresses(machine)
    const now = fingerprint(addresses)
    if (watched === undefined || watched.last === now) return
    watched.last = now
    this.#tell({ kind: 'addresses', machine, addresses })
  }

  #addresses(machine: Machine): readonly InterfaceAddress[] | undefined {
    try {
      return this.#known.of(machine)
    } catch {
      return undefined
    }
  }
}

function fingerprint(addresses: readonly InterfaceAddress[] | undefined): string {
  return (addresses ?? [])
    .map(({ interfaceIndex, address }) => `${String(interfaceIndex)} ${address.toString('hex')}`)
    .join('\n')
}

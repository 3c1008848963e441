import { readFileSync } from 'node:fs'
import { MachinedError } from '../base/errors.ts'
import { networkOf, overlap, type Prefix } from '../base/prefix.ts'
import { findLink, type Link } from '../linux/link.ts'
import type { RequestSocket } from '../linux/netlink-request.ts'
import { listAddressesOf } from '../linux/route.ts'
import { isOurs, takenNetworks } from './bridge.ts'
import { configuredNetworks } from './configured-networks.ts'
import type { HostSocket } from './host-socket.ts'
import { leaseFile, recordsIn } from './lease-file.ts'
import type { NetworkConfig } from './network-config.ts'
import type { NetworkIdentity } from './network-name.ts'
import { localSubnet, pickLocalSubnet, pickSubnet, type Seed } from './subnet.ts'

/** All that is ours by the hash of the host (RFC 4193). */
const SITE_LENGTH = 48

/** What subnets are chosen by. */
export interface SubnetContext {
  /** Another one may come into force. */
  readonly config: NetworkConfig
  readonly identity: NetworkIdentity
  readonly host: HostSocket
  /** Where leases and the chosen subnets are kept. */
  readonly stateDirectory: string
  /** The subnets of other networks of ours that are in use. */
  readonly others: () => readonly Prefix[]
}

/** Those of a network; undefined for a family that is off. */
export interface Subnets {
  readonly subnet4: Prefix | undefined
  readonly subnet6: Prefix | undefined
}

/** Which subnets a network has, or could have (networking.md 7.3). */
export class SubnetChoice {
  readonly seed: Seed
  readonly #context: SubnetContext

  /** Throws what fs throws when the host has no machine ID. */
  constructor(context: SubnetContext) {
    this.#context = context
    const id = readFileSync('/etc/machine-id', 'utf8').trim()
    this.seed = { machineId: Buffer.from(id, 'hex'), network: context.identity.fullName }
  }

  /** Those that are configured, else those of before, else new ones. Throws LimitsExceeded when no subnet is free. */
  choose(before: Partial<Subnets> = {}): Subnets {
    return { subnet4: this.#subnet4(before.subnet4), subnet6: this.#subnet6(before.subnet6) }
  }

  /** An IPv4 subnet of the pool that is free. */
  pick(): Prefix | undefined {
    const { pool4, prefix4 } = this.#context.config
    const taken = [...this.#taken(), ...configuredNetworks(), ...this.#reserved()]
    return pickSubnet(pool4, prefix4, taken, this.seed)
  }

  /** What else on the host uses one of these subnets; undefined for nothing. */
  conflict({ subnet4, subnet6 }: Partial<Subnets>): Prefix | undefined {
    const taken = this.#taken()
    return (subnet4 && conflictOf(subnet4, taken)) ?? (subnet6 && conflictOf(subnet6, taken))
  }

  /** Which of them another network of ours has at the time; undefined for none. */
  doubled({ subnet4, subnet6 }: Subnets): Prefix | undefined {
    const others = this.#context.others()
    return [subnet4, subnet6].find((subnet) => subnet && conflictOf(subnet, others))
  }

  /** The bridge, if it is there and ours: then machines may be at it. */
  presentBridge(): Link | undefined {
    const bridge = findLink(this.#socket, this.#context.identity.bridge)
    return bridge !== undefined && isOurs(bridge) ? bridge : undefined
  }

  get #socket(): RequestSocket {
    return this.#context.host.requests
  }

  #taken(): Prefix[] {
    return takenNetworks(this.#socket, findLink(this.#socket, this.#context.identity.bridge)?.index ?? 0)
  }

  #subnet4(chosen: Prefix | undefined): Prefix | undefined {
    const { subnet4 } = this.#context.config
    if (subnet4 === 'off') return undefined
    if (typeof subnet4 !== 'string') return subnet4
    const found = chosen ?? this.#presentSubnet() ?? this.pick()
    if (found === undefined) throw new MachinedError('LimitsExceeded', 'No subnet of Pool4= is free')
    return found
  }

  /** That of the bridge: machines may be at it though the file is lost. */
  #presentSubnet(): Prefix | undefined {
    const bridge = this.presentBridge()
    if (bridge === undefined) return undefined
    const found = listAddressesOf(this.#socket, bridge).find(({ address }) => address.length === 4)
    return found && networkOf(found)
  }

  #subnet6(chosen: Prefix | undefined): Prefix | undefined {
    const { subnet6 } = this.#context.config
    if (subnet6 !== 'ula') return subnet6 === 'off' ? undefined : subnet6
    const isOurs = chosen && overlap({ ...localSubnet(this.seed), length: SITE_LENGTH }, chosen)
    return isOurs ? chosen : pickLocalSubnet(this.seed, this.#reserved())
  }

  /** The subnets of all other networks of ours, of which some are not in use. */
  #reserved(): Prefix[] {
    const { stateDirectory, identity, others } = this.#context
    const names = recordsIn(stateDirectory).filter((name) => name !== identity.fullName)
    const records = names.map((name) => leaseFile(stateDirectory, name).load())
    return [...others(), ...records.flatMap((record) => [record?.subnet4 ?? [], record?.subnet6 ?? []].flat())]
  }
}

function conflictOf(subnet: Prefix, taken: readonly Prefix[]): Prefix | undefined {
  return taken.find((other) => overlap(other, subnet))
}

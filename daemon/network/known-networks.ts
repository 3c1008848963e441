import { readdirSync } from 'node:fs'
import { MachinedError } from '../base/errors.ts'
import type { Prefix } from '../base/prefix.ts'
import type { Link } from '../linux/link.ts'
import { isOurs, networkOfTag } from './bridge.ts'
import { recordsIn } from './lease-file.ts'
import type { LinksContext } from './links.ts'
import { baseForOthers, type NetworkConfig } from './network-config.ts'
import {
  DEFAULT_NETWORK,
  defaultIdentity,
  identityOf,
  isBridgeName,
  isZoneBridge,
  namedIdentity,
  zoneIdentity,
  type NetworkIdentity
} from './network-name.ts'
import { Network } from './network.ts'

/** The files that say what networks are. */
export interface NetworkFiles {
  /** Those of the default network. */
  readonly ofDefault: readonly string[]
  readonly list: () => string[]
  /** A network without any file is not configured. */
  readonly read: (name: string, base: NetworkConfig) => { config: NetworkConfig; files: readonly string[] }
}

/** What networks are made with. */
export interface KnownNetworksContext extends Omit<LinksContext, 'identity' | 'config'> {
  /** That of the default network, and of the others where they say nothing. */
  readonly config: NetworkConfig
  /** Where leases and the chosen subnets are kept. */
  readonly stateDirectory: string
  readonly files: NetworkFiles
}

/** The networks there are: the default one, those that have a file, and zones of systemd-nspawn (networking.md 7.2). */
export class KnownNetworks {
  readonly default: Network
  readonly #context: KnownNetworksContext
  /** By the full names of their bridges. */
  readonly #networks = new Map<string, Network>()

  constructor(context: KnownNetworksContext) {
    this.#context = context
    this.default = this.#create(defaultIdentity(context.config.bridge), context.config)
    this.default.files = context.files.ofDefault
  }

  /** Those with machines, or whose bridge waits for the next one. */
  inUse(): Network[] {
    return [...this.#networks.values()].filter((network) => network.isUp)
  }

  /** All of them, the default one first. */
  all(): Network[] {
    return [this.default, ...this.others()]
  }

  /** All but the default one. */
  others(): Network[] {
    const zones = recordsIn(this.#context.stateDirectory).filter(isZoneBridge)
    const named = this.#context.files.list().map((name) => this.#named(name))
    const there = new Set([...named, ...zones.map((name) => this.#zone(name)), ...this.inUse()])
    return [...there].filter((network) => network !== this.default)
  }

  /** The one that a machine is in at the time. */
  of(machine: string): Network | undefined {
    return this.inUse().find(({ links }) => links.attached.has(machine))
  }

  /** The one of that name, or the default one. Throws FileNotFound when it is not configured. */
  named(name: string | undefined): Network {
    if (name === undefined || name === DEFAULT_NETWORK) return this.default
    const network = this.#named(name)
    if (network.files.length === 0) throw new MachinedError('FileNotFound', `Network '${name}' is not configured`)
    return network
  }

  /**
   * The one that a machine which does not run is configured for. Into a zone it gets by what systemd-nspawn is told: of that
   * only the lease tells which it has there and not here. Throws FileNotFound when it is not configured.
   */
  expectedOf(machine: string, configured: string | undefined): Network {
    const network = this.named(configured)
    const hasLease = ({ book }: Network): boolean => book.list().some(({ name }) => name === machine)
    if (configured !== undefined || hasLease(network)) return network
    return this.others().find((other) => isZoneBridge(other.identity.bridge) && hasLease(other)) ?? network
  }

  /** The one that a bridge is, or can be, of; undefined where that is not ours. */
  at(bridge: Link): Network | undefined {
    if (bridge.kind !== 'bridge') return undefined
    const known = this.inUse().find(({ identity }) => identity.bridge === bridge.name)
    if (known !== undefined) return known
    if (isZoneBridge(bridge.name)) return this.#zone(bridge.name)
    if (bridge.name === this.#context.config.bridge) return this.default
    const identity = isOurs(bridge) ? identityOf(networkOfTag(bridge), this.#context.config.bridge) : undefined
    // It goes on though its file is gone.
    return identity && this.#named(identity.name)
  }

  /** Whether there is a bridge on the host that may be ours. */
  hasBridge(): boolean {
    return readdirSync('/sys/class/net').some((name) => name === this.#context.config.bridge || isBridgeName(name))
  }

  /** The bridges on the host that are called as ours are, but for zones; and that of the default network in any case. */
  ownBridges(): string[] {
    const others = readdirSync('/sys/class/net').filter((name) => isBridgeName(name) && !isZoneBridge(name))
    return [...new Set([this.#context.config.bridge, ...others])]
  }

  #named(name: string): Network {
    const identity = namedIdentity(name)
    const present = this.#networks.get(identity.fullName)
    if (present?.isUp === true) return present
    const { config, files } = this.#context.files.read(name, baseForOthers(this.#context.config, identity.bridge))
    const network = present ?? this.#create(identity, config)
    network.configure(config, files)
    return network
  }

  #zone(bridge: string): Network {
    const config = baseForOthers(this.#context.config, bridge)
    return this.#networks.get(bridge) ?? this.#create(zoneIdentity(bridge), config)
  }

  #create(identity: NetworkIdentity, config: NetworkConfig): Network {
    const others = (): Network[] => this.inUse().filter((network) => network.identity !== identity)
    const subnets = (): Prefix[] => others().flatMap((network) => network.subnets())
    const network = new Network({ ...this.#context, identity, config, others: subnets })
    this.#networks.set(identity.fullName, network)
    return network
  }
}

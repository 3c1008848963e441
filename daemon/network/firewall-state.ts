import type { Prefix } from '../base/prefix.ts'
import type { NetworkConfig } from './network-config.ts'

/** One port, or a range of them, of the host that leads into a machine. */
export interface Forward {
  readonly machine: string
  readonly protocol: 'tcp' | 'udp'
  /** The address of the host that it is bound to; undefined for all. */
  readonly address: Buffer | undefined
  readonly first: number
  readonly last: number
  /** The machine's port for `first`; the others follow. */
  readonly target: number
  /** The configuration file that it is from; undefined for one that was added at run time. */
  readonly file: string | undefined
}

/** A machine's link as the firewall knows it. */
export interface FirewallPort {
  readonly interfaceName: string
  /** `02:…`, "" if not known. */
  readonly mac: string
  readonly ip4: Buffer | undefined
  readonly ip6: Buffer | undefined
}

/** A forward with where it leads. */
export interface ActiveForward extends Forward, Pick<FirewallPort, 'ip4' | 'ip6'> {}

/** A network as the firewall knows it. */
export interface FirewallNetwork {
  readonly bridge: string
  readonly subnet4: Prefix | undefined
  readonly subnet6: Prefix | undefined
  readonly config: Pick<NetworkConfig, 'masquerade' | 'isolation' | 'hostAccess' | 'antiSpoof'>
  readonly ports: readonly FirewallPort[]
}

/** All that the rules are made from. */
export interface FirewallState {
  readonly networks: readonly FirewallNetwork[]
  /** Interfaces of others that forwards lead out of, with the networks there. */
  readonly borrowed: readonly { readonly interfaceName: string; readonly subnets: readonly Prefix[] }[]
  readonly forwards: readonly ActiveForward[]
  /** Whether forwards answer at 127.0.0.1. */
  readonly localhostForward: boolean
  /** TCP ports that services of the host have at 127.0.0.1, which no forward takes from them. */
  readonly kept: readonly number[]
}

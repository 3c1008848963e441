import { MachinedError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import type { RequestSocket } from '../linux/netlink-request.ts'
import { openNetfilter } from '../linux/netfilter.ts'
import { Firewall } from './firewall.ts'
import type { FirewallState } from './firewall-state.ts'
import { Flows } from './flows.ts'
import type { Lease } from './leases.ts'
import { LoopbackProxy } from './loopback-proxy.ts'
import type { NetworkConfig } from './network-config.ts'
import type { OtherFirewalls } from './other-firewalls.ts'
import { RuleWatch } from './rule-watch.ts'

type Config = Pick<NetworkConfig, 'integration' | 'localhostForward'>
/** What the rest of the network knows of the rules. */
export type RulesState = Omit<FirewallState, 'kept' | 'localhostForward'>

/** The rules of all networks, and all that has to be so that they do what they say. */
export class Rules {
  readonly #firewall: Firewall
  readonly #flows: Flows
  readonly #socket: () => RequestSocket
  readonly #proxy = new LoopbackProxy()
  readonly #config: Config
  readonly #others: OtherFirewalls
  readonly #lost: () => void
  #netfilter: RequestSocket | undefined
  #watch: RuleWatch | undefined
  #warned = false
  #removals = 0

  /** The documents that are applied lie in the directory. `lost` is called when changes by others were not noticed. */
  constructor(directory: string, config: Config, others: OtherFirewalls, lost: () => void) {
    this.#socket = (): RequestSocket => (this.#netfilter ??= openNetfilter())
    this.#firewall = new Firewall(directory)
    this.#flows = new Flows(this.#socket)
    this.#config = config
    this.#others = others
    this.#lost = lost
  }

  /**
   * Makes them those of the state, which is asked for when it is needed. A host without nft(8) still has a network,
   * though nothing leads out of it. Rejects with what nft says.
   */
  async apply(state: () => RulesState): Promise<void> {
    const { localhostForward } = this.#config
    const removals = this.#removals
    const kept = await this.#proxy.serve(localhostForward ? state().forwards : [])
    // All may have been taken away meanwhile.
    if (removals !== this.#removals) return
    try {
      const now = state()
      this.#watch ??= this.#watchRules()
      await this.#firewall.apply({ ...now, localhostForward, kept })
      this.#flows.settle(now.forwards)
      if (this.#config.integration === 'auto') this.#others.cover(now.networks.map(({ bridge }) => bridge))
    } catch (error) {
      if (!(error instanceof MachinedError) || error.code !== 'NotSupported') throw error
      if (!this.#warned) log.warn({ err: error }, 'The network of machines leads nowhere')
      this.#warned = true
    }
  }

  /** Throws NotSupported without nf_tables. */
  #watchRules(): RuleWatch {
    this.#socket()
    return new RuleWatch({
      repair: () => this.#firewall.repair(),
      isOurs: (port) => this.#firewall.isOurs(port),
      offered: () => {
        this.#others.renew()
      },
      lost: this.#lost
    })
  }

  /** Ends what leads to a machine that is over. */
  forget(machine: string, { ip4, ip6 }: Pick<Lease, 'ip4' | 'ip6'>): void {
    this.#proxy.hangUp(machine)
    this.#flows.forget([ip4, ip6])
  }

  /** Applies them once more, whatever has become of them. */
  async repair(): Promise<void> {
    await this.#firewall.repair()
  }

  /** Takes them all away; `bridges` are some that others may have been told of by an earlier daemon. */
  async remove(bridges: readonly string[]): Promise<void> {
    this.#removals++
    this.#stopWatching()
    const [removed] = await Promise.all([this.#firewall.remove(), this.#proxy.serve([])])
    if (removed) this.#others.uncover(bridges)
    // A machine may have come meanwhile.
    if (this.#watch === undefined) this.#closeSocket()
  }

  #stopWatching(): void {
    this.#watch?.close()
    this.#watch = undefined
  }

  #closeSocket(): void {
    this.#netfilter?.closeByThread()
    this.#netfilter = undefined
  }
}

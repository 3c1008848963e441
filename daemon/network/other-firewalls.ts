import { log } from '../base/log.ts'
import { MachinedError } from '../base/errors.ts'
import { listChains } from '../linux/nft.ts'
import type { Firewalld } from './firewalld.ts'
import { acceptInOfferedChains, OFFERED_CHAINS, removeFromOfferedChains } from './iptables.ts'

const STRICT = 'StrictForwardPorts=yes in firewalld.conf'
/** Tables of those that know of our bridge. */
const KNOWN_TABLES = /^\S+ (?:machined|firewalld)$/

/**
 * What others' firewalls have to know of our bridge: that our rules accept a packet does not help where another table
 * drops it (networking.md 6.4, 7.8). What fails is logged; machines have a network nevertheless.
 */
export class OtherFirewalls {
  readonly #firewalld: Pick<Firewalld, 'runs' | 'trust' | 'distrust' | 'isStrict'>
  #bridge: string | undefined
  #running = Promise.resolve()
  readonly #warned = new Set<string>()

  constructor(firewalld: Pick<Firewalld, 'runs' | 'trust' | 'distrust' | 'isStrict'>) {
    this.#firewalld = firewalld
  }

  /** Tells them of the bridge, unless they know. */
  cover(bridge: string): void {
    if (this.#bridge === bridge) return
    this.#bridge = bridge
    this.renew()
  }

  /** Tells them once more, as when one of them has started or has forgotten all. */
  renew(): void {
    const bridge = this.#bridge
    if (bridge !== undefined) this.#enqueue(() => this.#tell(bridge))
  }

  /** Takes back what they were told, also by an earlier daemon. */
  uncover(bridge: string): void {
    this.#bridge = undefined
    this.#enqueue(async () => {
      if (this.#firewalld.runs) await this.#firewalld.distrust(bridge)
      await removeFromOfferedChains()
    })
  }

  /** Throws NotSupported where firewalld lets no forwards through but its own. */
  async requireForwards(): Promise<void> {
    if (!(await this.#firewalld.isStrict())) return
    throw new MachinedError('NotSupported', `firewalld lets only its own port forwards through, by ${STRICT}`)
  }

  /** One after the other, so that they end as they were asked for. */
  #enqueue(step: () => Promise<void>): void {
    this.#running = this.#running.then(step).catch((error: unknown) => {
      log.warn({ err: error }, 'Failed to tell the firewalls of the host about the network of machines')
    })
  }

  async #tell(bridge: string): Promise<void> {
    if (this.#firewalld.runs) await this.#firewalld.trust(bridge)
    if (await this.#firewalld.isStrict()) this.#warn(`firewalld stops port forwards into machines, by ${STRICT}`)
    await acceptInOfferedChains(bridge)
    const chains = await listChains()
    const offering = new Set(chains.flatMap(({ table, chain }) => (OFFERED_CHAINS.has(chain) ? [table] : [])))
    for (const { table, chain, hook, policy } of chains) {
      if (policy !== 'drop' || (hook !== 'forward' && hook !== 'input')) continue
      if (KNOWN_TABLES.test(table) || offering.has(table)) continue
      this.#warn(
        `Chain ${chain} of table '${table}' drops by its policy: have it accept what comes from and goes to ${bridge}`
      )
    }
  }

  #warn(text: string): void {
    if (this.#warned.has(text)) return
    this.#warned.add(text)
    log.warn(text)
  }
}

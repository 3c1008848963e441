import { log } from '../base/log.ts'
import { MachinedError } from '../base/errors.ts'
import { listChains } from '../linux/nft.ts'
import type { Firewalld } from './firewalld.ts'
import { acceptInOfferedChains, OFFERED_CHAINS } from './iptables.ts'

const STRICT = 'StrictForwardPorts=yes in firewalld.conf'
/** Tables of those that know of our bridge. */
const KNOWN_TABLES = /^\S+ (?:machined|firewalld)$/

/**
 * What others' firewalls have to know of our bridge: that our rules accept a packet does not help where another table
 * drops it (networking.md 6.4, 7.8). What fails is logged; machines have a network nevertheless.
 */
export class OtherFirewalls {
  readonly #firewalld: Pick<Firewalld, 'runs' | 'trust' | 'distrust' | 'isStrict'>
  #bridges: readonly string[] = []
  #running = Promise.resolve()
  readonly #warned = new Set<string>()

  constructor(firewalld: Pick<Firewalld, 'runs' | 'trust' | 'distrust' | 'isStrict'>) {
    this.#firewalld = firewalld
  }

  /** Tells them of these bridges and no others, unless they know. */
  cover(bridges: readonly string[]): void {
    const gone = this.#bridges.filter((bridge) => !bridges.includes(bridge))
    const isKnown = gone.length === 0 && bridges.length === this.#bridges.length
    this.#bridges = bridges
    if (!isKnown) this.#enqueue(() => this.#tell(bridges, gone))
  }

  /** Tells them once more, as when one of them has started or has forgotten all. */
  renew(): void {
    const bridges = this.#bridges
    if (bridges.length > 0) this.#enqueue(() => this.#tell(bridges))
  }

  /** Takes back what they were told, also by an earlier daemon, of these bridges and of all others. */
  uncover(bridges: readonly string[]): void {
    const gone = [...new Set([...bridges, ...this.#bridges])]
    this.#bridges = []
    this.#enqueue(() => this.#tell([], gone))
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

  async #tell(bridges: readonly string[], gone: readonly string[] = []): Promise<void> {
    if (this.#firewalld.runs) {
      for (const bridge of gone) await this.#firewalld.distrust(bridge)
      for (const bridge of bridges) await this.#firewalld.trust(bridge)
    }
    await acceptInOfferedChains(bridges)
    if (bridges.length > 0) await this.#warnOfDrops(bridges)
  }

  /** Says in the log what stops machines all the same. */
  async #warnOfDrops(bridges: readonly string[]): Promise<void> {
    if (await this.#firewalld.isStrict()) this.#warn(`firewalld stops port forwards into machines, by ${STRICT}`)
    const chains = await listChains()
    const offering = new Set(chains.flatMap(({ table, chain }) => (OFFERED_CHAINS.has(chain) ? [table] : [])))
    for (const { table, chain, hook, policy } of chains) {
      if (policy !== 'drop' || (hook !== 'forward' && hook !== 'input')) continue
      if (KNOWN_TABLES.test(table) || offering.has(table)) continue
      const whose = bridges.join(', ')
      this.#warn(
        `Chain ${chain} of table '${table}' drops by its policy: have it accept what comes from and goes to ${whose}`
      )
    }
  }

  #warn(text: string): void {
    if (this.#warned.has(text)) return
    this.#warned.add(text)
    log.warn(text)
  }
}

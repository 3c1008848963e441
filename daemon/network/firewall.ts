import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { log } from '../base/log.ts'
import { Nft } from '../linux/nft.ts'
import { noRules, rulesFor } from './firewall-document.ts'
import type { FirewallState } from './firewall-state.ts'
import { changeDocument, wholeDocument, type Ruleset } from './ruleset.ts'

/** Keeps the rules in the kernel those of a state. Changes that come while others are applied are applied together. */
export class Firewall {
  readonly #nft = new Nft()
  /** The document that made all rules last, and that of the last change to them. */
  readonly #whole: string
  readonly #change: string
  #wanted = noRules
  /** Undefined when nobody knows. */
  #applied: Ruleset | undefined
  #repairs = 0
  #running: Promise<void> | undefined

  /** The documents that are applied lie in the directory. */
  constructor(directory: string) {
    this.#whole = join(directory, 'rules.nft')
    this.#change = join(directory, 'change.nft')
  }

  /** Whether what comes from that port of netlink(7) is our doing; our tables may come anew from others. */
  isOurs(port: number): boolean {
    return this.#nft.isOurs(port)
  }

  /** Makes the rules those of this state. Rejects with what nft says; the rules are then as they were. */
  async apply(state: FirewallState): Promise<void> {
    await this.#replace(rulesFor(state))
  }

  /** Takes all rules away. False when none were applied since boot or the last removal, or others are wanted since. */
  async remove(): Promise<boolean> {
    if (!existsSync(this.#whole)) return false
    await this.#replace(noRules)
    if (this.#wanted !== noRules) return false
    for (const path of [this.#whole, this.#change]) rmSync(path, { force: true })
    this.#nft.close()
    return true
  }

  /** Makes all rules anew, as when somebody else has taken some away. */
  async repair(): Promise<void> {
    if (this.#wanted === noRules) return
    this.#applied = undefined
    this.#repairs++
    await this.#replace(this.#wanted)
  }

  async #replace(rules: Ruleset): Promise<void> {
    this.#wanted = rules
    while (this.#applied !== this.#wanted) {
      const running = (this.#running ??= this.#run().finally(() => (this.#running = undefined)))
      await running
    }
  }

  async #run(): Promise<void> {
    const [rules, repairs] = [this.#wanted, this.#repairs]
    const start = performance.now()
    if (!(await this.#changeTo(rules))) await this.#nft.apply(this.#whole, wholeDocument(rules))
    log.debug(`Applied rules in ${(performance.now() - start).toFixed(1)} ms`)
    // Whatever has become of them meanwhile.
    if (repairs === this.#repairs) this.#applied = rules
  }

  /** Whether only elements had to be changed, and have been. */
  async #changeTo(rules: Ruleset): Promise<boolean> {
    const change = this.#applied && changeDocument(this.#applied, rules)
    if (change === undefined) return false
    return change === '' || this.#nft.change(this.#change, change)
  }
}

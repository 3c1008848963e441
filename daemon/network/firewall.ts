import { existsSync, rmSync } from 'node:fs'
import { log } from '../base/log.ts'
import { applyDocument } from '../linux/nft.ts'
import { firewallDocument, removalDocument } from './firewall-document.ts'
import type { FirewallState } from './firewall-state.ts'

/** Keeps the rules in the kernel those of a state. Changes that come while others are applied are applied together. */
export class Firewall {
  readonly #path: string
  #wanted: string | undefined
  #applied: string | undefined
  #running: Promise<void> | undefined

  /** `path` is where the document lies that was applied last. */
  constructor(path: string) {
    this.#path = path
  }

  /** Makes the rules those of this state. Rejects with what nft says; the rules are then as they were. */
  async apply(state: FirewallState): Promise<void> {
    await this.#replace(firewallDocument(state))
  }

  /** Takes all rules away. Does nothing, and says so by false, when none were applied since boot or the last removal. */
  async remove(): Promise<boolean> {
    if (!existsSync(this.#path)) return false
    await this.#replace(removalDocument)
    if (this.#isEmpty()) rmSync(this.#path, { force: true })
    return true
  }

  /** Applies the last document once more, as when somebody else has taken rules away. */
  async repair(): Promise<void> {
    if (this.#wanted === undefined || this.#isEmpty()) return
    this.#applied = undefined
    await this.#replace(this.#wanted)
  }

  /** Whether nothing was asked for since the rules were taken away. */
  #isEmpty(): boolean {
    return this.#wanted === removalDocument
  }

  async #replace(document: string): Promise<void> {
    this.#wanted = document
    while (this.#applied !== this.#wanted) {
      const running = (this.#running ??= this.#run().finally(() => (this.#running = undefined)))
      await running
    }
  }

  async #run(): Promise<void> {
    const document = this.#wanted ?? removalDocument
    const start = performance.now()
    await applyDocument(this.#path, document)
    this.#applied = document
    log.debug(`Applied ${document.length} bytes of rules in ${(performance.now() - start).toFixed(1)} ms`)
  }
}

import { existsSync, rmSync } from 'node:fs'
import { log } from '../base/log.ts'
import type { RequestSocket } from '../linux/netlink-request.ts'
import { currentGeneration, isLater } from '../linux/nft-generation.ts'
import { applyDocument } from '../linux/nft.ts'
import { firewallDocument, removalDocument } from './firewall-document.ts'
import type { FirewallState } from './firewall-state.ts'

/**
 * Keeps the rules in the kernel those of a state. Changes that come while others are applied are applied together. They are
 * in effect when the kernel says so: nft(8) ends only when it has thrown away what was there before, some 15 ms later.
 */
export class Firewall {
  readonly #path: string
  readonly #socket: () => RequestSocket
  #wanted: string | undefined
  #applied: string | undefined
  #running: Promise<void> | undefined
  #made: (generation: number) => void = () => undefined

  /** `path` is where the document lies that was applied last, `socket` one for netfilter. */
  constructor(path: string, socket: () => RequestSocket) {
    this.#path = path
    this.#socket = socket
  }

  /** Call this when tables of ours have come with a generation of the rules. */
  made(generation: number): void {
    this.#made(generation)
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
    await Promise.race([this.#madeAnew(), applyDocument(this.#path, document)])
    this.#applied = document
    log.debug(`Applied ${document.length} bytes of rules in ${(performance.now() - start).toFixed(1)} ms`)
  }

  /** Resolves when tables of ours come with a generation that is not there yet. */
  #madeAnew(): Promise<void> {
    const before = currentGeneration(this.#socket())
    return new Promise((resolve) => {
      this.#made = (generation) => {
        if (isLater(generation, before)) resolve()
      }
    })
  }
}

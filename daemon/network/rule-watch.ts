import { log } from '../base/log.ts'
import { KernelEvents, type KernelEvent } from '../linux/netlink-events.ts'
import { NETLINK_NETFILTER } from '../linux/netlink-request.ts'
import { parseAttributes } from '../linux/rtnetlink.ts'
import { TABLE } from './firewall-document.ts'

const NFNLGRP_NFTABLES = 7
const NEWTABLE = 0x0a00
const DELTABLE = 0x0a02
const NEWGEN = 0x0a0f
const NFTA_TABLE_NAME = 1
const NFGENMSG_LENGTH = 4

/** Two who undo each other's work must not do so at full speed: after so many repairs within the time there is a pause as long. */
const MOST_REPAIRS = 3
const WITHIN_MS = 10_000

/** Notices that somebody takes our rules away, as `nft flush ruleset` does, and has them put back (networking.md 7.8). */
export class RuleWatch {
  readonly #events: KernelEvents
  readonly #repair: () => Promise<void>
  readonly #withinMs: number
  #missing = false
  #repairs: number[] = []
  #pause: NodeJS.Timeout | undefined

  constructor(repair: () => Promise<void>, withinMs = WITHIN_MS) {
    this.#repair = repair
    this.#withinMs = withinMs
    this.#events = new KernelEvents(NETLINK_NETFILTER, [NFNLGRP_NFTABLES], (events) => {
      events.forEach((event) => {
        this.#see(event)
      })
    })
  }

  close(): void {
    clearTimeout(this.#pause)
    this.#events.close()
  }

  /** A transaction is over with NEWGEN; ours take the table away and make it again in one. */
  #see({ type, body }: KernelEvent): void {
    if (type === NEWGEN) this.#check()
    else if (type === DELTABLE || type === NEWTABLE) {
      const name = parseAttributes(body.subarray(NFGENMSG_LENGTH)).get(NFTA_TABLE_NAME)
      if (name?.toString('latin1').replace(/\0$/, '') === TABLE) this.#missing = type === DELTABLE
    }
  }

  #check(): void {
    if (!this.#missing || this.#pause !== undefined) return
    const now = Date.now()
    this.#repairs = this.#repairs.filter((time) => now - time < this.#withinMs)
    if (this.#repairs.length < MOST_REPAIRS) this.#putBack(now)
    else this.#wait()
  }

  #wait(): void {
    log.warn('Somebody takes away the rules of machines again and again, putting them back more slowly')
    this.#pause = setTimeout(() => {
      this.#pause = undefined
      this.#check()
    }, this.#withinMs).unref()
  }

  #putBack(now: number): void {
    this.#missing = false
    this.#repairs.push(now)
    this.#repair().catch((error: unknown) => {
      log.warn({ err: error }, 'Failed to put the rules of machines back')
    })
  }
}

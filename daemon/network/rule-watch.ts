import { log } from '../base/log.ts'
import { KernelEvents, type KernelEvent } from '../linux/netlink-events.ts'
import { NETLINK_NETFILTER } from '../linux/netlink-request.ts'
import { NEWGEN, NFGENMSG_LENGTH } from '../linux/netfilter.ts'
import { parseAttributes } from '../linux/rtnetlink.ts'
import { OFFERED_CHAINS } from './iptables.ts'
import { TABLE } from './ruleset.ts'

const NFNLGRP_NFTABLES = 7
const NEWTABLE = 0x0a00
const DELTABLE = 0x0a02
const NEWCHAIN = 0x0a03
const DELRULE = 0x0a08
/** Which attribute names the chain. */
const CHAIN_NAMES: ReadonlyMap<number, number> = new Map([
  [NEWCHAIN, 3],
  [DELRULE, 2]
])
/** What events of our tables begin with, whether of chains, rules, sets or elements: NFTA_TABLE_NAME and its like. */
const OURS = Buffer.from(`\x0d\0\x01\0${TABLE}\0`, 'latin1')

/** Two who undo each other's work must not do so at full speed: after so many repairs within the time there is a pause as long. */
const MOST_REPAIRS = 3
const WITHIN_MS = 10_000

/** What is done about what is noticed. */
export interface RuleTasks {
  /** Puts all of our rules back. */
  readonly repair: () => Promise<void>
  /** Whether what comes from that port of netlink(7) is a change of ours. */
  readonly isOurs: (port: number) => boolean
  /** Called when another firewall has made a chain for rules of others, or has emptied one. */
  readonly offered: () => void
  /** Called when something was not noticed. */
  readonly lost: () => void
}

/**
 * Notices that somebody else takes our rules away or changes them, as `nft flush ruleset` and `nft delete rule` do, and
 * has them put back (networking.md 7.8). Whatever makes our tables anew is ours.
 */
export class RuleWatch {
  readonly #events: KernelEvents
  readonly #tasks: RuleTasks
  readonly #withinMs: number
  /** Whether the transaction is about tables of ours, and the families of those that it has made. */
  #touched = false
  #made = new Set<number>()
  #offered = false
  #spoilt = false
  #repairs: number[] = []
  #pause: NodeJS.Timeout | undefined

  constructor(tasks: RuleTasks, withinMs = WITHIN_MS) {
    this.#tasks = tasks
    this.#withinMs = withinMs
    this.#events = new KernelEvents(NETLINK_NETFILTER, [NFNLGRP_NFTABLES], {
      deliver: (events) => {
        events.forEach((event) => {
          this.#see(event)
        })
      },
      lost: tasks.lost
    })
  }

  close(): void {
    clearTimeout(this.#pause)
    this.#events.close()
  }

  /** A transaction is over with NEWGEN. */
  #see({ type, port, body }: KernelEvent): void {
    if (type === NEWGEN) this.#end()
    else if (this.#tasks.isOurs(port)) return
    else if (body.subarray(NFGENMSG_LENGTH, NFGENMSG_LENGTH + OURS.length).equals(OURS)) {
      this.#touched = true
      if (type === NEWTABLE) this.#made.add(body.readUInt8(0))
      else if (type === DELTABLE) this.#made.delete(body.readUInt8(0))
    } else if (isOffered(type, body)) this.#offered = true
  }

  #end(): void {
    if (this.#offered) this.#tasks.offered()
    this.#offered = false
    if (!this.#touched) return
    this.#spoilt = this.#made.size === 0
    this.#touched = false
    this.#made.clear()
    this.#check()
  }

  #check(): void {
    if (!this.#spoilt || this.#pause !== undefined) return
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
    this.#spoilt = false
    this.#repairs.push(now)
    this.#tasks.repair().catch((error: unknown) => {
      log.warn({ err: error }, 'Failed to put the rules of machines back')
    })
  }
}

function isOffered(type: number, body: Buffer): boolean {
  const attribute = CHAIN_NAMES.get(type)
  const name = attribute === undefined ? undefined : parseAttributes(body.subarray(NFGENMSG_LENGTH)).get(attribute)
  return name !== undefined && OFFERED_CHAINS.has(name.toString('latin1').replace(/\0$/, ''))
}

import { log } from '../base/log.ts'
import { formatPrefix, overlap } from '../base/prefix.ts'
import { KernelEvents, type KernelEvent } from '../linux/netlink-events.ts'
import { NETLINK_ROUTE, type RequestSocket } from '../linux/netlink-request.ts'
import { parseRoute, RTM_DELROUTE, RTM_NEWROUTE } from '../linux/route.ts'
import type { AddressBook } from './address-book.ts'

const RTNLGRP_IPV4_ROUTE = 7
const RTNLGRP_IPV6_ROUTE = 11

/**
 * Says in the log when something else on the host comes to use a subnet of machines, as a VPN may (networking.md 7.3).
 * Addresses are noticed by the routes that come with them.
 */
export class ConflictWatch {
  readonly #book: AddressBook
  readonly #socket: RequestSocket
  readonly #events: KernelEvents
  #known = ''

  /** `lost` is called when events of routes were lost. */
  constructor(book: AddressBook, socket: RequestSocket, lost: () => void) {
    this.#book = book
    this.#socket = socket
    this.#events = new KernelEvents(NETLINK_ROUTE, [RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE], {
      deliver: (events) => {
        if (events.some((event) => this.#matters(event))) this.check()
      },
      lost
    })
    this.check()
  }

  /** Looks at all routes: events can be lost. */
  check(): void {
    const conflict = this.#book.conflict(this.#socket)
    const text = conflict === undefined ? '' : formatPrefix(conflict)
    if (text === this.#known) return
    if (text === '') log.info('The subnet of machines is used by nothing else any more')
    else log.warn(`The subnet of machines overlaps ${text}, which is in use elsewhere on this host`)
    this.#known = text
  }

  close(): void {
    this.#events.close()
  }

  /** A host may have very many routes, of which few are looked at. */
  #matters({ type, body }: KernelEvent): boolean {
    if (type !== RTM_NEWROUTE && type !== RTM_DELROUTE) return false
    const { subnet4, subnet6 } = this.#book.space(this.#socket)
    return parseRoute(body).some(({ destination }) =>
      [subnet4, subnet6].some((subnet) => subnet && destination && overlap(subnet, destination))
    )
  }
}

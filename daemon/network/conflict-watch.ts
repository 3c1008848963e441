import { overlap, type Prefix } from '../base/prefix.ts'
import { KernelEvents, type KernelEvent } from '../linux/netlink-events.ts'
import { NETLINK_ROUTE } from '../linux/netlink-request.ts'
import { parseRoute, RTM_DELROUTE, RTM_NEWROUTE } from '../linux/route.ts'

const RTNLGRP_IPV4_ROUTE = 7
const RTNLGRP_IPV6_ROUTE = 11

/** What is done about routes that come and go. */
export interface ConflictTasks {
  /** The subnets of machines. */
  readonly subnets: () => readonly Prefix[]
  /** Called when a route that overlaps one of them has come or gone. */
  readonly check: () => void
  /** Called when events of routes were lost. */
  readonly lost: () => void
}

/**
 * Notices that something else on the host comes to use a subnet of machines, as a VPN may (networking.md 7.3). Addresses
 * are noticed by the routes that come with them.
 */
export class ConflictWatch {
  readonly #tasks: ConflictTasks
  readonly #events: KernelEvents

  constructor(tasks: ConflictTasks) {
    this.#tasks = tasks
    this.#events = new KernelEvents(NETLINK_ROUTE, [RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE], {
      deliver: (events) => {
        if (events.some((event) => this.#matters(event))) tasks.check()
      },
      lost: tasks.lost
    })
  }

  close(): void {
    this.#events.close()
  }

  /** A host may have very many routes, of which few are looked at. */
  #matters({ type, body }: KernelEvent): boolean {
    if (type !== RTM_NEWROUTE && type !== RTM_DELROUTE) return false
    const destinations = parseRoute(body).flatMap(({ destination }) => destination ?? [])
    return (
      destinations.length > 0 &&
      this.#tasks.subnets().some((subnet) => destinations.some((destination) => overlap(subnet, destination)))
    )
  }
}

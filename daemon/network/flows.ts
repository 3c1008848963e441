import { log } from '../base/log.ts'
import { forgetFlow, IPPROTO_UDP, listFlows, type Flow, type FlowFilter } from '../linux/conntrack.ts'
import { RequestSocket } from '../linux/netlink-request.ts'
import { listAddresses } from '../linux/route.ts'
import type { ActiveForward } from './firewall-state.ts'
import { listenText } from './forward-text.ts'

/** From so many changes on, all flows of UDP are looked through once. */
const MANY = 8

/**
 * Sees to what rules do not reach: the kernel asks them for the first packet of a flow alone, and with UDP a client that
 * goes on sending never begins a new one (networking.md 6.3). Connections of TCP go on by intent.
 */
export class Flows {
  readonly #socket: () => RequestSocket
  #active: readonly ActiveForward[] = []

  /** `socket` is one for netfilter. It is not closed after use: the kernel makes whoever does so wait for changes of rules. */
  constructor(socket: () => RequestSocket) {
    this.#socket = socket
  }

  /** Call this when these forwards are in effect: what goes another way than they say is begun anew. Throws nothing. */
  settle(forwards: readonly ActiveForward[]): void {
    const active = forwards.filter(({ protocol }) => protocol === 'udp')
    const before = new Map(this.#active.map((forward) => [keyOf(forward), forward]))
    const now = new Set(active.map(keyOf))
    const ended = [...before].flatMap(([key, forward]) => (now.has(key) ? [] : [forward]))
    const changed = [...ended, ...active.filter((forward) => !before.has(keyOf(forward)))]
    this.#active = active
    if (changed.length === 0) return
    this.#forget(filtersFor(changed), () => {
      const isLocal = localAddresses()
      return (flow) => isStale(flow, active, ended, isLocal)
    })
  }

  /** Forgets what led to a machine that is over, whose addresses another may have next. Throws nothing. */
  forget(addresses: readonly (Buffer | undefined)[]): void {
    const filters = addresses.filter((address) => address !== undefined).map((answerer) => ({ answerer }))
    this.#forget(filters, () => () => true)
  }

  /** Forgets those of the flows that are meant. `prepare` is called when there are any. */
  #forget(filters: readonly FlowFilter[], prepare: () => (flow: Flow) => boolean): void {
    try {
      const socket = this.#socket()
      const flows = filters.flatMap((filter) => listFlows(socket, filter))
      if (flows.length > 0)
        flows.filter(prepare()).forEach((flow) => {
          forgetFlow(socket, flow)
        })
    } catch (error) {
      log.debug({ err: error }, 'Failed to end what goes through forwards that have changed')
    }
  }
}

function filtersFor(changed: readonly ActiveForward[]): FlowFilter[] {
  const ports = new Set(changed.map(({ first, last }) => (first === last ? first : undefined)))
  const few = ports.size > MANY || ports.has(undefined) ? [undefined] : [...ports]
  return few.flatMap((port) => ([4, 16] as const).map((length) => ({ length, protocol: IPPROTO_UDP, port })))
}

/** Whether a flow goes where a forward led that has ended, or past one that there is now. */
function isStale(
  flow: Flow,
  active: readonly ActiveForward[],
  ended: readonly ActiveForward[],
  isLocal: (address: Buffer) => boolean
): boolean {
  const { destination, answerer } = flow
  const wanted = active.filter((forward) => isFor(forward, flow))
  if (wanted.some((forward) => leads(forward, flow))) return false
  if (ended.some((forward) => isFor(forward, flow) && leads(forward, flow))) return true
  return wanted.length > 0 && answerer.address.equals(destination.address) && isLocal(destination.address)
}

function isFor({ address, first, last }: ActiveForward, { destination }: Flow): boolean {
  const fits = address === undefined || address.equals(destination.address)
  return fits && destination.port >= first && destination.port <= last
}

function leads({ ip4, ip6, first, target }: ActiveForward, { destination, answerer }: Flow): boolean {
  const to = answerer.address.length === 4 ? ip4 : ip6
  return to?.equals(answerer.address) === true && answerer.port === target + destination.port - first
}

function keyOf(forward: ActiveForward): string {
  const ips = [forward.ip4, forward.ip6].map((ip) => ip?.toString('hex') ?? '')
  return [listenText(forward), forward.target, ...ips].join(' ')
}

/** Whether an address is one of the host's own. */
function localAddresses(): (address: Buffer) => boolean {
  using socket = new RequestSocket()
  const own = new Set(listAddresses(socket).map(({ prefix }) => prefix.address.toString('hex')))
  return (address) => own.has(address.toString('hex')) || (address.length === 4 && address[0] === 127)
}

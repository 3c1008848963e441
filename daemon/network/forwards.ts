import { MachinedError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import type { ActiveForward, Forward } from './firewall-state.ts'
import { loadForwards, saveForwards } from './forward-file.ts'
import { listenText, readForward } from './forward-text.ts'
import type { Lease } from './leases.ts'

/**
 * The forwards of all machines: those that were added at run time, whether their machine runs or not, and those that
 * are configured for a machine, as long as it runs. A port leads to one machine only: to the one that had it first.
 */
export class Forwards {
  readonly #path: string
  readonly #added: Forward[]
  readonly #configured = new Map<string, readonly Forward[]>()
  /** What follows from those two is found out once: there may be thousands. */
  #all: readonly Forward[] | undefined
  readonly #active = new WeakMap<Forward, ActiveForward>()

  /** `path` is the file that keeps those that were added until the next boot. */
  constructor(path: string) {
    this.#path = path
    this.#added = loadForwards(path)
  }

  /** All that are in effect when their machine runs. */
  all(): readonly Forward[] {
    if (this.#all !== undefined) return this.#all
    const all = [...this.#added]
    for (const forward of [...this.#configured.values()].flat())
      if (holder(all, forward) === undefined) all.push(forward)
    return (this.#all = all)
  }

  /** Those of machines that run, with where they lead: the same objects as long as they lead there. */
  active(leases: ReadonlyMap<string, Pick<Lease, 'ip4' | 'ip6'>>): ActiveForward[] {
    const active: ActiveForward[] = []
    for (const forward of this.all()) {
      const lease = leases.get(forward.machine)
      if (lease !== undefined) active.push(this.#activeOf(forward, lease))
    }
    return active
  }

  of(machine: string): Forward[] {
    return this.all().filter((forward) => forward.machine === machine)
  }

  /**
   * Takes what is configured for a machine that starts. What another one holds is logged, and is in effect once that one
   * has gone.
   */
  configure(machine: string, forwards: readonly Forward[]): void {
    // Its place among the others stays, so that who had a port goes on having it.
    this.#configured.set(machine, [])
    this.#all = undefined
    const accepted = [...this.all()]
    for (const forward of forwards) {
      const held = holder(accepted, forward)
      if (held === undefined) accepted.push(forward)
      else log.warn({ NAME: machine, CONFIG_FILE: forward.file }, `${forward.file ?? ''}: ${takenText(held)}, ignoring`)
    }
    this.#configured.set(machine, forwards)
    this.#all = undefined
  }

  /** Forgets what is configured for a machine that is over. */
  release(machine: string): void {
    this.#configured.delete(machine)
    this.#all = undefined
  }

  /** Throws FileExists, naming the holder, when some of the ports are taken. */
  add(forward: Forward): void {
    const held = holder(this.all(), forward)
    if (held !== undefined) throw new MachinedError('FileExists', takenText(held))
    this.#added.push(forward)
    this.#all = undefined
    saveForwards(this.#path, this.#added)
  }

  /** Throws FileNotFound when the machine has no such forward, NotSupported for one that is configured. */
  remove(machine: string, listen: string): void {
    const text = listenText(readForward(machine, listen, ''))
    const isMeant = (forward: Forward): boolean => forward.machine === machine && listenText(forward) === text
    const index = this.#added.findIndex(isMeant)
    const file = this.#configured.get(machine)?.find(isMeant)?.file
    if (index < 0 && file !== undefined) {
      throw new MachinedError('NotSupported', `Port ${text} is forwarded by ${file}, and goes with the machine`)
    }
    if (index < 0) throw new MachinedError('FileNotFound', `Machine '${machine}' has no forward of port ${text}`)
    this.#added.splice(index, 1)
    this.#all = undefined
    saveForwards(this.#path, this.#added)
  }

  #activeOf(forward: Forward, { ip4, ip6 }: Pick<Lease, 'ip4' | 'ip6'>): ActiveForward {
    const known = this.#active.get(forward)
    if (known !== undefined && known.ip4 === ip4 && known.ip6 === ip6) return known
    const active = { ...forward, ip4, ip6 }
    this.#active.set(forward, active)
    return active
  }
}

function holder(all: readonly Forward[], forward: Forward): Forward | undefined {
  return all.find((other) => conflict(other, forward))
}

function takenText(held: Forward): string {
  return `Port ${listenText(held)} is forwarded to machine '${held.machine}' already`
}

/** Whether two forwards want the same packets. One that is bound to an address comes before one that is not. */
function conflict(one: Forward, other: Forward): boolean {
  if (one.protocol !== other.protocol || one.last < other.first || other.last < one.first) return false
  if (one.address === undefined || other.address === undefined) return one.address === other.address
  return one.address.equals(other.address)
}

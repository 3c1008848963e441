import { MachinedError } from '../base/errors.ts'
import type { ActiveForward, Forward } from './firewall-state.ts'
import { loadForwards, saveForwards } from './forward-file.ts'
import { listenText, readForward } from './forward-text.ts'
import type { Lease } from './leases.ts'

/** The forwards of all machines, whether they run or not: they go and come back with their machine. */
export class Forwards {
  readonly #path: string
  readonly #all: Forward[]

  /** `path` is the file that keeps them until the next boot. */
  constructor(path: string) {
    this.#path = path
    this.#all = loadForwards(path)
  }

  all(): readonly Forward[] {
    return this.#all
  }

  /** Those of machines that run, with where they lead. */
  active(leases: ReadonlyMap<string, Pick<Lease, 'ip4' | 'ip6'>>): ActiveForward[] {
    return this.#all.flatMap((forward) => {
      const lease = leases.get(forward.machine)
      return lease === undefined ? [] : [{ ...forward, ip4: lease.ip4, ip6: lease.ip6 }]
    })
  }

  of(machine: string): Forward[] {
    return this.#all.filter((forward) => forward.machine === machine)
  }

  /** Throws FileExists, naming the holder, when some of the ports are taken. */
  add(forward: Forward): void {
    const holder = this.#all.find((other) => conflict(other, forward))
    if (holder !== undefined) {
      throw new MachinedError(
        'FileExists',
        `Port ${listenText(holder)} is forwarded to machine '${holder.machine}' already`
      )
    }
    this.#all.push(forward)
    saveForwards(this.#path, this.#all)
  }

  /** Throws FileNotFound when the machine has no such forward. */
  remove(machine: string, listen: string): void {
    const text = listenText(readForward(machine, listen, ''))
    const index = this.#all.findIndex((forward) => forward.machine === machine && listenText(forward) === text)
    if (index < 0) throw new MachinedError('FileNotFound', `Machine '${machine}' has no forward of port ${text}`)
    this.#all.splice(index, 1)
    saveForwards(this.#path, this.#all)
  }
}

/** Whether two forwards want the same packets. One that is bound to an address comes before one that is not. */
function conflict(one: Forward, other: Forward): boolean {
  if (one.protocol !== other.protocol || one.last < other.first || other.last < one.first) return false
  if (one.address === undefined || other.address === undefined) return one.address === other.address
  return one.address.equals(other.address)
}

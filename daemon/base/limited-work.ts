import { constants as os } from 'node:os'
import { systemError } from './errors.ts'

/** What is under way: its result, and when it is really over, which may be later. */
export interface Work<T> {
  readonly result: Promise<T>
  readonly ended: Promise<void>
}

/** How much may be under way at a time. */
export interface Limits {
  readonly most: number
  /** What takes longer makes room for another, so that what hangs holds nothing up. */
  readonly slowMs: number
  /** How many may be at such things besides. */
  readonly mostSlow: number
}

/** Does a few things at a time. */
export class LimitedWork {
  readonly #limits: Limits
  #running = 0
  #slow = 0
  readonly #waiting: (() => void)[] = []

  constructor(limits: Limits) {
    this.#limits = limits
  }

  /** Begins something when there is room, and gives its result. Throws what it does, and EBUSY while as much hangs as may. */
  async do<T>(begin: () => Work<T>): Promise<T> {
    if (this.#slow >= this.#limits.mostSlow) throw systemError(os.errno.EBUSY, 'begin')
    if (this.#running < this.#limits.most) this.#running++
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    const { result, ended } = begin()
    void this.#follow(ended)
    return result
  }

  async #follow(ended: Promise<void>): Promise<void> {
    let giveBack = (): void => {
      this.#makeRoom()
    }
    const timer = setTimeout(() => {
      if (this.#slow >= this.#limits.mostSlow) return
      this.#slow++
      this.#makeRoom()
      giveBack = () => this.#slow--
    }, this.#limits.slowMs)
    await ended
    clearTimeout(timer)
    giveBack()
  }

  /** Lets the next one begin, in the same place. */
  #makeRoom(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#running--
    else next()
  }
}

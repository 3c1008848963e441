/** How often everything is made what it is to be, whatever was noticed (networking.md 7.11). */
const REGULAR_MS = 30_000
/** How soon that is done after events were lost. Where many are lost, as with our own thousands of forwards, not each time. */
const LOST_MS = 500

/** When everything is to be made what it is to be, though nobody asked for anything. */
export class Upkeep {
  readonly #hold: (hasLost: boolean) => void
  #regular: NodeJS.Timeout | undefined
  #lost: NodeJS.Timeout | undefined
  #lostBefore = -Infinity

  /** `hold` is told whether events were lost. */
  constructor(hold: (hasLost: boolean) => void) {
    this.#hold = hold
  }

  /** From now on, if it has not begun already. */
  begin(): void {
    this.#regular ??= setInterval(() => {
      this.#hold(false)
    }, REGULAR_MS).unref()
  }

  /** Events were lost. At most one such look at the whole comes between two of those that come anyway. */
  readonly lost = (): void => {
    if (performance.now() - this.#lostBefore < REGULAR_MS) return
    this.#lostBefore = performance.now()
    this.#lost = setTimeout(() => {
      this.#hold(true)
    }, LOST_MS).unref()
  }

  end(): void {
    clearInterval(this.#regular)
    clearTimeout(this.#lost)
    this.#regular = this.#lost = undefined
  }
}

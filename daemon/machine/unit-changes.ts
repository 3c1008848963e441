/** What was said of one unit since one began to listen. */
export interface UnitWatch {
  /** Resolves with true once the unit has changed since the last call, with false after `ms` milliseconds without. */
  changed(ms: number): Promise<boolean>
  [Symbol.dispose](): void
}

/** Lets those who wait for a unit know that PID 1 said something of it. */
export class UnitChanges {
  readonly #watches = new Map<string, Set<Watch>>()

  /** To be called before PID 1 is asked, so that nothing it says after its answer is missed. */
  watch(unit: string): UnitWatch {
    const watch = new Watch()
    const watches = this.#watches.get(unit) ?? new Set()
    this.#watches.set(unit, watches.add(watch))
    return {
      changed: (ms) => watch.changed(ms),
      [Symbol.dispose]: () => {
        watches.delete(watch)
        if (watches.size === 0) this.#watches.delete(unit)
      }
    }
  }

  /** A unit has changed, or a job of it has ended. */
  report(unit: string): void {
    for (const watch of this.#watches.get(unit) ?? []) watch.report()
  }
}

class Watch {
  #changed = false
  #wake: () => void = () => undefined

  async changed(ms: number): Promise<boolean> {
    if (!this.#changed) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.max(ms, 0))
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    const changed = this.#changed
    this.#changed = false
    return changed
  }

  report(): void {
    this.#changed = true
    this.#wake()
  }
}

/** What a scope's start job came to: systemd's result word, or `canceled` when the machine went first. */
export interface PendingJob {
  /** Waits for the end of a job of this unit. Resolves at once if it has ended already. */
  result(job: string): Promise<string>
  [Symbol.dispose](): void
}

/** The start jobs of scopes that are being made, by unit. */
export class ScopeJobs {
  readonly #units = new Map<string, Expectation>()

  /** To be called before PID 1 is asked: the path of a job and its end may come in one read, the end handled first. */
  expect(unit: string): PendingJob {
    const expectation = new Expectation()
    this.#units.set(unit, expectation)
    return {
      result: (job) => expectation.result(job),
      [Symbol.dispose]: () => {
        if (this.#units.get(unit) === expectation) this.#units.delete(unit)
      }
    }
  }

  /** A job of a unit has ended. */
  ended(unit: string, job: string, result: string): void {
    this.#units.get(unit)?.end(job, result)
  }

  /** Nobody needs the unit any more. */
  cancel(unit: string): void {
    this.#units.get(unit)?.cancel()
  }
}

class Expectation {
  readonly #ended = new Map<string, string>()
  #waiting: { job: string; resolve: (result: string) => void } | undefined

  result(job: string): Promise<string> {
    const ended = this.#ended.get(job)
    if (ended !== undefined) return Promise.resolve(ended)
    return new Promise((resolve) => {
      this.#waiting = { job, resolve }
    })
  }

  end(job: string, result: string): void {
    this.#ended.set(job, result)
    if (this.#waiting?.job === job) this.#waiting.resolve(result)
  }

  cancel(): void {
    this.#waiting?.resolve('canceled')
  }
}

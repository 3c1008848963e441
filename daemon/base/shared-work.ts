/**
 * Work that many ask for at a time. Who comes while it is under way shares the next run with all others who do, as what is
 * under way may have passed by what has changed just now.
 */
export class SharedWork<T> {
  readonly #work: () => Promise<T>
  readonly #idle: () => void
  #current: Promise<unknown> | undefined
  #next: Promise<T> | undefined

  /** `idle` is called each time that nobody waits for it any more. */
  constructor(work: () => Promise<T>, idle: () => void = () => undefined) {
    this.#work = work
    this.#idle = idle
  }

  /** What the work comes to when it is begun after this call. Throws what it does. */
  run(): Promise<T> {
    if (this.#current === undefined) return this.#begin()
    this.#next ??= this.#current.then(() => this.#begin())
    return this.#next
  }

  #begin(): Promise<T> {
    this.#next = undefined
    const result = this.#work()
    const over = result.then(
      () => undefined,
      () => undefined
    )
    this.#current = over
    void over.then(() => {
      this.#current = undefined
      if (this.#next === undefined) this.#idle()
    })
    return result
  }
}

/** The same for each of many subjects; of those that nobody waits for nothing is kept. */
export class SharedWorks<T> {
  readonly #works = new Map<string, SharedWork<T>>()

  /** As SharedWork.run(). What is asked for by the same subject is the same work, whoever brings it. */
  run(subject: string, work: () => Promise<T>): Promise<T> {
    let shared = this.#works.get(subject)
    if (shared === undefined) {
      shared = new SharedWork(work, () => this.#works.delete(subject))
      this.#works.set(subject, shared)
    }
    return shared.run()
  }
}

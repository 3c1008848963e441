/** One thing to take back. */
export type Undo = () => void | Promise<void>

/** What to take back when an operation of several steps fails half-way. After the last step call `disarm`. */
export class Rollback {
  #undos: Undo[] = []

  /** Remembers how to take back the step just done. */
  add(undo: Undo): void {
    this.#undos.push(undo)
  }

  /** Takes everything back, last step first. Goes on after a failure; never throws. Returns what went wrong. */
  async undo(): Promise<unknown[]> {
    const undos = this.#undos
    this.#undos = []
    const errors: unknown[] = []
    for (const undo of undos.reverse()) {
      try {
        await undo()
      } catch (error) {
        errors.push(error)
      }
    }
    return errors
  }

  /** Forgets all steps: the operation succeeded. */
  disarm(): void {
    this.#undos = []
  }
}

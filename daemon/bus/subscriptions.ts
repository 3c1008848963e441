import type { BusMessage } from './message.ts'

/** Which signals are wanted. A well-known `sender` stands for whoever owns it at the time. */
export interface SignalMatch {
  sender?: string
  path?: string
  interface?: string
  member?: string
  arg0?: string
}

type Listener = (message: BusMessage) => void

/** Who listens to which signals. */
export class Subscriptions {
  readonly #all: { match: SignalMatch; listener: Listener }[] = []
  /** Unique names of the well-known names that matches name as sender. */
  readonly #owners = new Map<string, string>()

  add(match: SignalMatch, listener: Listener): void {
    this.#all.push({ match, listener })
  }

  /** Says that signals carry `unique` as their sender when `name` sends them; "" for nobody. */
  setOwner(name: string, unique: string): void {
    this.#owners.set(name, unique)
  }

  hasOwner(name: string): boolean {
    return this.#owners.has(name)
  }

  /**
   * Calls the listeners; what one of them throws goes to `onError`, a ProtocolError for a malformed body among it. Only who
   * looks at the body has it decoded: PID 1 tells dozens of properties with each change of a unit.
   */
  deliver(message: BusMessage, onError: (error: unknown) => void): void {
    for (const { match, listener } of [...this.#all]) {
      try {
        if (this.#matches(match, message)) listener(message)
      } catch (error) {
        onError(error)
      }
    }
  }

  #matches(match: SignalMatch, message: BusMessage): boolean {
    return (
      (match.member === undefined || match.member === message.member) &&
      (match.interface === undefined || match.interface === message.interface) &&
      (match.path === undefined || match.path === message.path) &&
      (match.sender === undefined || (this.#owners.get(match.sender) ?? match.sender) === message.sender) &&
      (match.arg0 === undefined || match.arg0 === message.arg0)
    )
  }
}

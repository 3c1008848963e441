/** Limits of one server (spec/varlink-and-clients.md A1.3). */
const MOST_CONNECTIONS = 4096
const MOST_CONNECTIONS_OF_USER = 128
/** What all connections of a user may have sent that is not answered yet: four of the longest messages. */
const MOST_BYTES_OF_USER = 64 * 1024 * 1024

/** Keeps account of who is connected, and of what they make us hold. */
export class Admission {
  readonly #users = new Map<number, { connections: number; bytes: number }>()
  #connections = 0

  /** Whether one more connection of the user is let in; who is has to `leave`. */
  enter(uid: number): boolean {
    const user = this.#users.get(uid) ?? { connections: 0, bytes: 0 }
    if (this.#connections >= MOST_CONNECTIONS || user.connections >= MOST_CONNECTIONS_OF_USER) return false
    this.#connections++
    user.connections++
    this.#users.set(uid, user)
    return true
  }

  leave(uid: number): void {
    const user = this.#users.get(uid)
    if (user === undefined) return
    this.#connections--
    if (--user.connections === 0) this.#users.delete(uid)
  }

  /** Counts bytes that are held for a user; negative when they are let go. Whether it is still few enough. */
  hold(uid: number, bytes: number): boolean {
    const user = this.#users.get(uid)
    if (user === undefined) return false
    user.bytes += bytes
    return user.bytes <= MOST_BYTES_OF_USER
  }
}

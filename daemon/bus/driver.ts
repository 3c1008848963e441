import type { Variant } from './client-bus.ts'
import { PidRef } from '../linux/process.ts'
import type { Connection } from './connection.ts'

const rememberedUids = 512

/** What the message broker knows about our callers. */
export class BusDriver {
  readonly #connection: Pick<Connection, 'call'>
  /** By unique name, oldest first. A broker never gives a unique name twice, so entries cannot go stale. */
  readonly #uids = new Map<string, number>()

  constructor(connection: Pick<Connection, 'call'>) {
    this.#connection = connection
  }

  /** The effective UID of a connection if it was asked before: lets a call be answered at once. */
  knownUid(name: string): number | undefined {
    const uid = this.#uids.get(name)
    if (uid !== undefined) {
      this.#uids.delete(name)
      this.#uids.set(name, uid)
    }
    return uid
  }

  /** The effective UID of a connection. Rejects with a DBusError if the caller is gone. */
  async uid(name: string): Promise<number> {
    const known = this.knownUid(name)
    if (known !== undefined) return known
    const [uid] = await this.#ask('GetConnectionUnixUser', name)
    return this.#remember(name, uid)
  }

  /**
   * Pins the process behind a connection, by the pidfd the broker holds if it gives one: that cannot name a
   * process that took over the PID. The caller closes it. Rejects with a DBusError if the connection is gone.
   */
  async pin(name: string): Promise<PidRef> {
    const [credentials] = (await this.#ask('GetConnectionCredentials', name)) as [Record<string, Variant>]
    this.#remember(name, credentials['UnixUserID']?.value)
    const fd = credentials['ProcessFD']?.value
    // The connection closes its descriptor; the PidRef has one of its own.
    if (typeof fd === 'number') return PidRef.fromPidfd(fd)
    const pid = credentials['ProcessID']?.value
    if (typeof pid !== 'number') throw new TypeError('GetConnectionCredentials did not return a process')
    return PidRef.pin(pid)
  }

  #remember(name: string, uid: unknown): number {
    if (typeof uid !== 'number') throw new TypeError(`The broker does not know the user of ${name}`)
    this.#uids.set(name, uid)
    if (this.#uids.size > rememberedUids) {
      const [oldest] = this.#uids.keys()
      if (oldest !== undefined) this.#uids.delete(oldest)
    }
    return uid
  }

  async #ask(member: string, name: string): Promise<unknown[]> {
    const reply = await this.#connection.call({
      destination: 'org.freedesktop.DBus',
      path: '/org/freedesktop/DBus',
      interface: 'org.freedesktop.DBus',
      member,
      signature: 's',
      body: [name]
    })
    return reply.body
  }
}

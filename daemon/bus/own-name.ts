import type { Connection } from './connection.ts'

const DO_NOT_QUEUE = 4
const PRIMARY_OWNER = 1

/** The name that clients find us by. */
export class OwnName {
  readonly #connection: Pick<Connection, 'call'>
  readonly #name: string

  constructor(connection: Pick<Connection, 'call'>, name: string) {
    this.#connection = connection
    this.#name = name
  }

  /** Takes the name. Throws when somebody else has it. */
  async claim(): Promise<void> {
    const [result] = await this.#ask('RequestName', 'su', [this.#name, DO_NOT_QUEUE])
    if (result !== PRIMARY_OWNER) throw new Error(`Bus name ${this.#name} is already taken`)
  }

  /** Gives the name up: calls to it that the bus gets before it answers still come to us, later ones do not. */
  async release(): Promise<void> {
    await this.#ask('ReleaseName', 's', [this.#name])
  }

  /** Has the bus start whoever is to own the name. Rejects with a DBusError. */
  async startOwner(): Promise<void> {
    await this.#ask('StartServiceByName', 'su', [this.#name, 0])
  }

  async #ask(member: string, signature: string, body: unknown[]): Promise<unknown[]> {
    const reply = await this.#connection.call({
      destination: 'org.freedesktop.DBus',
      path: '/org/freedesktop/DBus',
      interface: 'org.freedesktop.DBus',
      member,
      signature,
      body
    })
    return reply.body
  }
}

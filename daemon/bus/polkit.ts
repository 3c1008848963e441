import { Variant } from './client-bus.ts'
import { type Connection, isDBusError } from './connection.ts'

/** What polkit is asked: may this connection do this? */
export interface PolkitQuestion {
  /** Unique bus name of the one who wants it. */
  readonly sender: string
  /** The whole action id. */
  readonly action: string
  readonly details: Readonly<Record<string, string>>
  /** Whether the user may be asked for a password. */
  readonly interactive: boolean
}

/** What polkit said. */
export interface PolkitAnswer {
  readonly authorized: boolean
  /** Not authorized, but would perhaps be if the user could be asked. */
  readonly challenge: boolean
  /** Whether an administrator's password was given. */
  readonly admin: boolean
}

/** Who decides: polkit, or what stands for it in tests. */
export interface Authority {
  check(question: PolkitQuestion): Promise<PolkitAnswer>
}

const denied: PolkitAnswer = { authorized: false, challenge: false, admin: false }

/** Errors that mean "no": polkit's own refusals, and that there is no polkit (spec/dbus.md 0.6). */
const denials: ReadonlySet<unknown> = new Set([
  'org.freedesktop.PolicyKit1.Error.Failed',
  'org.freedesktop.PolicyKit1.Error.Cancelled',
  'org.freedesktop.PolicyKit1.Error.NotAuthorized',
  'org.freedesktop.DBus.Error.ServiceUnknown',
  'org.freedesktop.DBus.Error.NameHasNoOwner',
  'org.freedesktop.systemd1.NoSuchUnit'
])

/** The polkit daemon. */
export class Polkit implements Authority {
  readonly #connection: Pick<Connection, 'call'>

  constructor(connection: Pick<Connection, 'call'>) {
    this.#connection = connection
  }

  /** Asks polkit; may take as long as the user takes. Rejects with polkit's DBusError if that is not a plain denial. */
  async check(question: PolkitQuestion): Promise<PolkitAnswer> {
    try {
      const reply = await this.#connection.call({
        destination: 'org.freedesktop.PolicyKit1',
        path: '/org/freedesktop/PolicyKit1/Authority',
        interface: 'org.freedesktop.PolicyKit1.Authority',
        member: 'CheckAuthorization',
        signature: '(sa{sv})sa{ss}us',
        body: [
          ['system-bus-name', { name: new Variant('s', question.sender) }],
          question.action,
          { ...question.details },
          question.interactive ? 1 : 0,
          ''
        ],
        // A user may be typing a password.
        timeout: Infinity
      })
      const [[authorized, challenge, details]] = reply.body as [[boolean, boolean, Record<string, string>]]
      const result = details['polkit.result']
      return { authorized, challenge, admin: authorized && (result === 'auth_admin' || result === 'auth_admin_keep') }
    } catch (error) {
      if (isDBusError(error) && denials.has(error.type)) return denied
      throw error
    }
  }
}

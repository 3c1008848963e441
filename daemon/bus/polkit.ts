import { dupFd } from '../linux/libc.ts'
import { Variant } from './client-bus.ts'
import { type Connection, isDBusError, NO_OWNER_ERRORS } from './connection.ts'

/** Who wants something: a connection to the bus by its unique name, or a process by a pidfd that stays ours, with its user. */
export type PolkitSubject = { readonly busName: string } | { readonly pidfd: number; readonly uid: number }

/** What polkit is asked: may this one do this? */
export interface PolkitQuestion {
  readonly subject: PolkitSubject
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
  /** Rejects with SystemError ECANCELED, or whatever the reason is, when the signal is aborted first. */
  check(question: PolkitQuestion, signal?: AbortSignal): Promise<PolkitAnswer>
}

const denied: PolkitAnswer = { authorized: false, challenge: false, admin: false }

/** Errors that mean "no": polkit's own refusals, and that there is no polkit (spec/dbus.md 0.6). */
const denials: ReadonlySet<unknown> = new Set([
  'org.freedesktop.PolicyKit1.Error.Failed',
  'org.freedesktop.PolicyKit1.Error.Cancelled',
  'org.freedesktop.PolicyKit1.Error.NotAuthorized',
  ...NO_OWNER_ERRORS,
  'org.freedesktop.systemd1.NoSuchUnit'
])

const destination = {
  destination: 'org.freedesktop.PolicyKit1',
  path: '/org/freedesktop/PolicyKit1/Authority',
  interface: 'org.freedesktop.PolicyKit1.Authority'
}

/** The polkit daemon. */
export class Polkit implements Authority {
  readonly #connection: Pick<Connection, 'call'>
  #asked = 0

  constructor(connection: Pick<Connection, 'call'>) {
    this.#connection = connection
  }

  /**
   * Asks polkit; may take as long as the user takes. Rejects with polkit's DBusError if that is not a plain denial, and
   * with the signal's reason once that is aborted: polkit then takes its dialogue away.
   */
  async check(question: PolkitQuestion, signal?: AbortSignal): Promise<PolkitAnswer> {
    signal?.throwIfAborted()
    const cancellation = signal === undefined ? '' : `machined-${String(++this.#asked)}`
    const cancel = (): void => {
      const request = { ...destination, member: 'CancelCheckAuthorization', signature: 's', body: [cancellation] }
      this.#connection.call(request).catch(() => undefined)
    }
    signal?.addEventListener('abort', cancel)
    try {
      const answer = await this.#ask(question, cancellation)
      // It may have answered before it knew.
      signal?.throwIfAborted()
      return answer
    } catch (error) {
      signal?.throwIfAborted()
      if (isDBusError(error) && denials.has(error.type)) return denied
      throw error
    } finally {
      signal?.removeEventListener('abort', cancel)
    }
  }

  async #ask({ subject, action, details, interactive }: PolkitQuestion, cancellation: string): Promise<PolkitAnswer> {
    const reply = await this.#connection.call({
      ...destination,
      member: 'CheckAuthorization',
      signature: '(sa{sv})sa{ss}us',
      body: [encodeSubject(subject), action, { ...details }, interactive ? 1 : 0, cancellation],
      // A user may be typing a password.
      timeout: Infinity
    })
    const [[authorized, challenge, found]] = reply.body as [[boolean, boolean, Record<string, string>]]
    const result = found['polkit.result']
    return { authorized, challenge, admin: authorized && (result === 'auth_admin' || result === 'auth_admin_keep') }
  }
}

/** A message owns its descriptors and closes them once sent, so it gets one of its own. */
function encodeSubject(subject: PolkitSubject): [kind: string, properties: Record<string, Variant>] {
  if ('busName' in subject) return ['system-bus-name', { name: new Variant('s', subject.busName) }]
  const { pidfd, uid } = subject
  return ['unix-process', { pidfd: new Variant('h', dupFd(pidfd)), uid: new Variant('i', uid | 0) }]
}

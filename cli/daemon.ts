import { isSystemError, strerror } from '../daemon/base/errors.ts'
import { Connection, isDBusError } from '../daemon/bus/connection.ts'
import { Failure } from './failure.ts'

const NAME = 'org.freedesktop.machine1'
const PATH = '/org/freedesktop/machine1'
/** Header flag ALLOW_INTERACTIVE_AUTHORIZATION of the D-Bus specification. */
const ALLOW_INTERACTIVE = 0x4

/** Which method of the manager object to call. */
export interface Request {
  readonly interface: string
  readonly member: string
  /** Of the arguments; none unless told. */
  readonly signature?: string
}

/** The daemon as a client of the system bus sees it. */
export class Daemon {
  readonly #connection: Connection
  readonly #flags: number

  /** With `interactive` the user may be asked for a password. Throws Failure when there is no bus. */
  static async connect({ interactive }: { interactive: boolean }): Promise<Daemon> {
    try {
      return new Daemon(await Connection.open(), interactive ? ALLOW_INTERACTIVE : 0)
    } catch (error) {
      throw new Failure(`Failed to connect to bus: ${reasonOf(error)}`)
    }
  }

  private constructor(connection: Connection, flags: number) {
    this.#connection = connection
    this.#flags = flags
  }

  /** Calls a method and gives its results. Throws Failure, which begins with `Failed to` and what was to be done. */
  async call(what: string, request: Request, body: unknown[] = []): Promise<unknown[]> {
    try {
      // How long people take to type a password, or a disk to write, is not for us to say.
      const target = { destination: NAME, path: PATH, flags: this.#flags, timeout: Infinity }
      return (await this.#connection.call({ ...target, ...request, body })).body
    } catch (error) {
      throw new Failure(`Failed to ${what}: ${reasonOf(error)}`)
    }
  }

  close(): void {
    this.#connection.close()
  }
}

function reasonOf(error: unknown): string {
  if (isDBusError(error)) return error.text
  if (isSystemError(error)) return strerror(error.code)
  return error instanceof Error ? error.message : String(error)
}

import { basename, join } from 'node:path'
import { log } from '../base/log.ts'
import { type Connection, isDBusError, NO_AUTO_START, NO_OWNER_ERRORS } from '../bus/connection.ts'
import { followName } from '../bus/name-owner.ts'
import { isForVeth, networkFiles } from './networkd-files.ts'
import { ToldFile } from './told-file.ts'

const NAME = 'org.freedesktop.network1'
const RUNTIME_DIRECTORY = '/run/systemd/network'
const OUR_FILE = '79-machined.network'

/** The host's systemd-networkd: whether it runs, and what it is told about our links (networking.md 7.8). */
export class Networkd {
  readonly #connection: Connection
  /** Undefined as long as nobody follows it. */
  #runs: boolean | undefined
  readonly #file = new ToldFile(join(RUNTIME_DIRECTORY, OUR_FILE))

  constructor(connection: Connection) {
    this.#connection = connection
  }

  /** Finds out whether it runs, and follows that. */
  async watch(): Promise<void> {
    await followName(this.#connection, NAME, (isOwned) => {
      this.#runs = isOwned
    })
  }

  get runs(): boolean {
    return this.#runs === true
  }

  /**
   * Tells it to leave these links alone; names may be patterns. Takes effect at once, also when it starts later. It is
   * a file that an administrator's with a lower number has precedence over.
   */
  async leaveAlone(names: readonly string[]): Promise<void> {
    const text =
      names.length === 0
        ? ''
        : `# Written by machined.\n[Match]\nName=${names.join(' ')}\n[Link]\nUnmanaged=yes\nRequiredForOnline=no\n`
    if (!this.#file.say(text)) return
    // A daemon that is to manage nothing takes away the file of one before, and follows nobody.
    if (this.#runs !== false) await this.#reload()
  }

  /** Whether a file of an administrator is for a veth of that name, and comes before ours. */
  isConfigured(name: string): boolean {
    return this.runs && networkFiles().some((path) => basename(path) < OUR_FILE && isForVeth(path, name))
  }

  async #reload(): Promise<void> {
    const manager = { path: '/org/freedesktop/network1', interface: `${NAME}.Manager` }
    try {
      await this.#connection.call({ destination: NAME, ...manager, member: 'Reload', flags: NO_AUTO_START })
    } catch (error) {
      if (isDBusError(error) && NO_OWNER_ERRORS.includes(error.type)) return
      log.warn({ err: error }, 'Failed to make systemd-networkd leave links of machines alone')
    }
  }
}

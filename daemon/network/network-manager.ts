import { existsSync } from 'node:fs'
import { log } from '../base/log.ts'
import { type Connection, isDBusError, NO_AUTO_START, NO_OWNER_ERRORS } from '../bus/connection.ts'
import { ToldFile } from './told-file.ts'

const NAME = 'org.freedesktop.NetworkManager'
const FILE = '/run/NetworkManager/conf.d/79-machined.conf'
/** One of them is there where it is installed. */
const DIRECTORIES = ['/usr/lib/NetworkManager', '/etc/NetworkManager']
/** Its files alone, not what it says to others. */
const RELOAD_CONFIGURATION = 1

/** The host's NetworkManager, which would ask for addresses at links of machines (networking.md 7.8). */
export class NetworkManager {
  readonly #connection: Connection
  readonly #file = new ToldFile(FILE)

  constructor(connection: Connection) {
    this.#connection = connection
  }

  /**
   * Tells it to leave these links alone, also when it starts later; names may be patterns. What an administrator's files
   * say comes before that. Nobody waits for its answer. Throws what fs throws.
   */
  leaveAlone(names: readonly string[]): void {
    if (!DIRECTORIES.some((directory) => existsSync(directory))) return
    const links = names.map((name) => `interface-name:${name}`).join(',')
    // Added to what there is.
    const text = links === '' ? '' : `# Written by machined.\n[keyfile]\nunmanaged-devices+=${links}\n`
    if (this.#file.say(text)) void this.#reload()
  }

  async #reload(): Promise<void> {
    const call = { destination: NAME, path: '/org/freedesktop/NetworkManager', interface: NAME, member: 'Reload' }
    try {
      await this.#connection.call({ ...call, flags: NO_AUTO_START, signature: 'u', body: [RELOAD_CONFIGURATION] })
    } catch (error) {
      if (isDBusError(error) && NO_OWNER_ERRORS.includes(error.type)) return
      log.warn({ err: error }, 'Failed to make NetworkManager leave links of machines alone')
    }
  }
}

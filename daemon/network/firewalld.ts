import { isDBusError, NO_AUTO_START, type Connection } from '../bus/connection.ts'
import { followName } from '../bus/name-owner.ts'
import { log } from '../base/log.ts'

const NAME = 'org.fedoraproject.FirewallD1'
const PATH = '/org/fedoraproject/FirewallD1'
/** The one that we install, and firewalld's own for where it has not read ours yet. */
const ZONES = ['machined', 'trusted']

/**
 * The host's firewalld, which turns away what comes from interfaces that it does not know, whatever our rules say
 * (networking.md 7.8).
 */
export class Firewalld {
  readonly #connection: Connection
  #runs = false

  constructor(connection: Connection) {
    this.#connection = connection
  }

  /** Finds out whether it runs, and follows that. `begun` is called when it has started, or has read its files anew. */
  async watch(begun: () => void): Promise<void> {
    const reloaded = { sender: NAME, path: PATH, interface: NAME, member: 'Reloaded' }
    const following = this.#connection.onSignal(reloaded, begun)
    const owned = followName(this.#connection, NAME, (isOwned) => {
      const started = isOwned && !this.#runs
      this.#runs = isOwned
      if (started) begun()
    })
    await Promise.all([following, owned])
  }

  get runs(): boolean {
    return this.#runs
  }

  /** Puts an interface into the zone for machines, till firewalld reads its files anew. Throws what it answers. */
  async trust(interfaceName: string): Promise<void> {
    for (const zone of ZONES) {
      try {
        await this.#call('zone', 'changeZoneOfInterface', [zone, interfaceName])
        return
      } catch (error) {
        if (says(error, 'ZONE_ALREADY_SET')) return
        if (!says(error, 'INVALID_ZONE') || zone === ZONES.at(-1)) throw error
      }
    }
  }

  /** Takes it out again. That it is in none is no error. */
  async distrust(interfaceName: string): Promise<void> {
    // An empty zone: whichever it is in.
    await this.#call('zone', 'removeInterface', ['', interfaceName]).catch((error: unknown) => {
      log.debug({ err: error }, `Failed to take ${interfaceName} out of its firewalld zone`)
    })
  }

  /** Whether it lets through only the port forwards that are its own (StrictForwardPorts= of firewalld.conf). */
  async isStrict(): Promise<boolean> {
    if (!this.#runs) return false
    const properties = { path: `${PATH}/config`, interface: 'org.freedesktop.DBus.Properties' }
    const body = [`${NAME}.config`, 'StrictForwardPorts']
    const request = { destination: NAME, ...properties, member: 'Get', flags: NO_AUTO_START, signature: 'ss', body }
    // Those before 2.3 have no such setting.
    const reply = await this.#connection.call(request).catch(() => undefined)
    return (reply?.body[0] as { value?: unknown } | undefined)?.value === 'yes'
  }

  async #call(part: string, member: string, body: string[]): Promise<void> {
    const place = { destination: NAME, path: PATH, interface: `${NAME}.${part}` }
    await this.#connection.call({ ...place, member, flags: NO_AUTO_START, signature: 's'.repeat(body.length), body })
  }
}

/** Its errors are of one name, and say in their text which one it is. */
function says(error: unknown, word: string): boolean {
  return isDBusError(error) && error.text.startsWith(word)
}

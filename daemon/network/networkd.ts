import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { log } from '../base/log.ts'
import { type Connection, isDBusError, NO_AUTO_START, NO_OWNER_ERRORS } from '../bus/connection.ts'
import { followName } from '../bus/name-owner.ts'
import { readFileBounded } from '../linux/file.ts'
import { ToldFile } from './told-file.ts'

const NAME = 'org.freedesktop.network1'
const RUNTIME_DIRECTORY = '/run/systemd/network'
const OUR_FILE = '79-machined.network'
const DIRECTORIES = ['/etc', '/run', '/usr/local/lib', '/usr/lib'].map((directory) => `${directory}/systemd/network`)
const LIMIT = 256 * 1024

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
    return this.runs && administratorsFiles().some((path) => matches(path, name))
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

/** The files that networkd asks before ours; of each name the one in the first directory. */
function administratorsFiles(): string[] {
  const found = new Map<string, string>()
  for (const directory of DIRECTORIES.toReversed()) {
    for (const name of list(directory)) {
      if (name.endsWith('.network') && name < OUR_FILE) found.set(name, join(directory, name))
    }
  }
  return [...found.values()]
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}

/** Whether the [Match] section is for a veth of that name (systemd.network(5)); keys not known here are taken to match. */
function matches(path: string, name: string): boolean {
  let text: string
  try {
    text = readFileBounded(path, LIMIT)
  } catch {
    return false
  }
  const section = /^\[Match\]\s*$([^[]*)/m.exec(text)?.[1]
  if (section === undefined) return false
  const values = (key: string): string[] =>
    [...section.matchAll(new RegExp(`^\\s*${key}\\s*=(.*)$`, 'gm'))].flatMap(([, value = '']) =>
      value.trim().split(/\s+/)
    )
  const fits = (key: string, value: string): boolean => values(key).length === 0 || values(key).some(glob(value))
  const isSpecific = ['Name', 'Kind', 'Driver', 'Type'].some((key) => values(key).length > 0)
  return isSpecific && fits('Name', name) && fits('Kind', 'veth') && fits('Driver', 'veth') && fits('Type', 'ether')
}

/** A pattern of shell-style wildcards, as fnmatch(3) has them. */
function glob(value: string): (pattern: string) => boolean {
  return (pattern) => {
    const source = pattern
      .replace(/[.+^${}()|\\]/g, '\\$&')
      .replaceAll('*', '.*')
      .replaceAll('?', '.')
    try {
      return new RegExp(`^${source}$`).test(value)
    } catch {
      return false
    }
  }
}

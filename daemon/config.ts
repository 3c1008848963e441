import { basename, join } from 'node:path'
import { parse } from 'ini'
import { configDirectories } from './base/config-directories.ts'
import { isSystemError } from './base/errors.ts'
import { log } from './base/log.ts'
import { namesIn, readFileBounded } from './linux/file.ts'
import { networkDefaults, networkSettings, type NetworkConfig, type NetworkSettings } from './network/network-config.ts'

const DIRECTORIES = configDirectories('systemd')
const NAME = 'machined.conf'
/** More than anyone writes by hand. */
const LIMIT = 1024 * 1024

/** All that is configured. */
export interface Config {
  readonly network: NetworkConfig
  /** The files it was read from, in the order in which they count: the last one wins. */
  readonly files: readonly string[]
}

/** One line of a configuration file that sets something. */
export interface Assignment {
  readonly path: string
  readonly line: number
  readonly section: string
  /** The line of the section's header; the same section may come again. */
  readonly header: number
  readonly key: string
  readonly value: string
}

/**
 * Reads machined.conf and its drop-ins (networking.md 7.2): the main file of the first directory that has one, then
 * every `machined.conf.d/*.conf` in the order of the names, one of each name. Says in the log what it cannot make sense
 * of, with file and line, and goes on without it. `directories` is for tests.
 */
export function readConfig(directories: readonly string[] = DIRECTORIES): Config {
  const files = configFiles(directories, NAME)
  const network = readNetworkSettings(files, networkSettings, networkDefaults)
  // Then nothing is ours to do.
  const manage = network.backend === 'none' ? 'no' : network.manage
  return Object.freeze({ network: Object.freeze({ ...network, manage }), files })
}

/** What the files say of a network, the last one most; `base` is what holds where they say nothing. */
export function readNetworkSettings(
  files: readonly string[],
  settings: NetworkSettings,
  base: NetworkConfig
): NetworkConfig {
  const network = { ...base }
  for (const assignment of files.flatMap(readAssignments)) {
    const { section, key, value } = assignment
    const found = own(own(settings, section), key)
    if (own(settings, section) === undefined) complain(assignment, `Unknown section [${section}], ignoring`)
    else if (found === undefined) complain(assignment, `Unknown key '${key}' in section [${section}], ignoring`)
    // As everywhere in systemd, an empty value takes back what was said before.
    else if (value === '') Object.assign(network, { [found.key]: base[found.key] })
    else {
      const read = found.read(value)
      if (read === undefined) complain(assignment, `Failed to parse ${key}=${value}, ignoring`)
      else Object.assign(network, { [found.key]: read })
    }
  }
  return network
}

/** The files of a configuration, as they count. An empty file or a link to /dev/null hides those of its name below it. */
export function configFiles(directories: readonly string[], name: string): string[] {
  const main = directories.map((directory) => join(directory, name)).find(exists)
  const dropIns = new Map<string, string>()
  for (const directory of directories.toReversed()) {
    for (const file of namesIn(join(directory, `${name}.d`))) {
      if (file.endsWith('.conf')) dropIns.set(file, join(directory, `${name}.d`, file))
    }
  }
  const sorted = [...dropIns.values()].sort((a, b) => (basename(a) < basename(b) ? -1 : 1))
  return [...(main === undefined ? [] : [main]), ...sorted].filter((path) => textOf(path) !== '')
}

/** What a file sets, line by line: the package `ini` reads each, so that it can be told where a mistake is. */
export function readAssignments(path: string): Assignment[] {
  const assignments: Assignment[] = []
  let [section, head] = ['', 0]
  for (const [index, line] of textOf(path).split('\n').entries()) {
    const place = { path, line: index + 1 }
    const header = /^\s*\[([^\]]*)\]\s*$/.exec(line)
    if (header !== null) {
      section = header[1] ?? ''
      head = index + 1
      continue
    }
    const [entry] = Object.entries(parse(line))
    if (entry === undefined) continue
    if (line.includes('=')) {
      assignments.push({ ...place, section, header: head, key: entry[0], value: String(entry[1]).trim() })
    } else complain(place, `Missing '=', ignoring line`)
  }
  return assignments
}

/** A property that is not one every object has. */
function own<T>(table: Readonly<Record<string, T>> | undefined, key: string): T | undefined {
  return table !== undefined && Object.hasOwn(table, key) ? table[key] : undefined
}

/** Says in the log what is wrong with a line, as systemd does. */
export function complain({ path, line }: Pick<Assignment, 'path' | 'line'>, problem: string): void {
  log.warn({ CONFIG_FILE: path, CONFIG_LINE: String(line) }, `${path}:${line}: ${problem}`)
}

function textOf(path: string): string {
  try {
    return readFileBounded(path, LIMIT)
  } catch (error) {
    // A link to /dev/null is how a file of the distribution is switched off: no regular file.
    if (!isSystemError(error) || error.code !== 'EINVAL') log.warn({ err: error }, `Failed to read ${path}, ignoring`)
    return ''
  }
}

function exists(path: string): boolean {
  return namesIn(join(path, '..')).includes(basename(path))
}

import { configDirectories } from './base/config-directories.ts'
import { MachinedError } from './base/errors.ts'
import { complain, configFiles, readAssignments, type Assignment } from './config.ts'
import type { Forward } from './network/firewall-state.ts'
import { isNetworkName } from './network/network-name.ts'
import { readForward } from './network/forward-text.ts'

/** Where there can be a file for each machine, what counts most first. */
const DIRECTORIES = configDirectories('machined/machines')
const KEYS: Readonly<Record<string, readonly string[]>> = { Network: ['Network'], Forward: ['Listen', 'Target'] }

/** What is configured for a machine. */
export interface MachineConfig {
  /** The name of its network; undefined for the default one. */
  readonly network: string | undefined
  readonly forwards: readonly Forward[]
}

/**
 * What is configured for a machine in `NAME.conf` and its drop-ins (networking.md 7.2), which count as those of
 * machined.conf do: `Network=` in `[Network]`, and port forwards, a `[Forward]` section for each. Says in the log what it
 * cannot make sense of, with file and line, and goes on without it. `directories` is for tests.
 */
export function readMachineConfig(machine: string, directories: readonly string[] = DIRECTORIES): MachineConfig {
  const files = configFiles(directories, `${machine}.conf`).map((path) => readAssignments(path).filter(isKnown))
  return { network: networkOf(files.flat()), forwards: files.flatMap((lines) => forwardsOf(machine, lines)) }
}

/** An empty value is for the default network once more; any name may be that of one that comes yet. */
function networkOf(lines: readonly Assignment[]): string | undefined {
  let network: string | undefined
  for (const line of lines) {
    if (line.section !== 'Network') continue
    if (line.value === '' || isNetworkName(line.value)) network = line.value === '' ? undefined : line.value
    else complain(line, `Invalid network name '${line.value}', ignoring`)
  }
  return network
}

function forwardsOf(machine: string, lines: readonly Assignment[]): Forward[] {
  const sections = new Map<number, Assignment[]>()
  for (const line of lines) {
    if (line.section === 'Forward') sections.set(line.header, [...(sections.get(line.header) ?? []), line])
  }
  return Array.from(sections.values(), (section) => readSection(machine, section)).filter(
    (found) => found !== undefined
  )
}

function isKnown(assignment: Assignment): boolean {
  const { section, key } = assignment
  const keys = Object.hasOwn(KEYS, section) ? KEYS[section] : undefined
  if (keys === undefined) complain(assignment, `Unknown section [${section}], ignoring`)
  else if (!keys.includes(key)) complain(assignment, `Unknown key '${key}' in section [${section}], ignoring`)
  else return true
  return false
}

function readSection(machine: string, lines: readonly Assignment[]): Forward | undefined {
  const [first] = lines
  // Of a key that comes twice, the second counts, as everywhere in systemd.
  const valueOf = (key: string): string => lines.findLast((line) => line.key === key)?.value ?? ''
  if (first === undefined) return undefined
  try {
    return readForward(machine, valueOf('Listen'), valueOf('Target'), first.path)
  } catch (error) {
    if (!(error instanceof MachinedError)) throw error
    complain({ path: first.path, line: first.header }, `${error.message}, ignoring the section`)
    return undefined
  }
}

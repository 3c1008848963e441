import { MachinedError } from './base/errors.ts'
import { complain, configFiles, readAssignments, type Assignment } from './config.ts'
import type { Forward } from './network/firewall-state.ts'
import { readForward } from './network/forward-text.ts'

/** Where there can be a file for each machine, what counts most first. */
const DIRECTORIES = ['/etc', '/run', '/usr/local/lib', '/usr/lib'].map((directory) => `${directory}/machined/machines`)
const KEYS = ['Listen', 'Target']

/**
 * The port forwards of a machine that are configured: a `[Forward]` section for each in `NAME.conf` and its drop-ins
 * (networking.md 7.2), which count as those of machined.conf do. Says in the log what it cannot make sense of, with file
 * and line, and goes on without it. `directories` is for tests.
 */
export function readMachineForwards(machine: string, directories: readonly string[] = DIRECTORIES): Forward[] {
  return configFiles(directories, `${machine}.conf`).flatMap((path) => forwardsOf(machine, path))
}

function forwardsOf(machine: string, path: string): Forward[] {
  const sections = new Map<number, Assignment[]>()
  for (const assignment of readAssignments(path)) {
    if (!isKnown(assignment)) continue
    const lines = sections.get(assignment.header) ?? []
    sections.set(assignment.header, [...lines, assignment])
  }
  return Array.from(sections.values(), (lines) => readSection(machine, lines)).filter((found) => found !== undefined)
}

function isKnown(assignment: Assignment): boolean {
  const { section, key } = assignment
  if (section !== 'Forward') complain(assignment, `Unknown section [${section}], ignoring`)
  else if (!KEYS.includes(key)) complain(assignment, `Unknown key '${key}' in section [Forward], ignoring`)
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

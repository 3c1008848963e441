import * as fs from 'node:fs'
import { explain } from '../base/errors.ts'
import type { NamespaceWorkers } from '../linux/namespace-workers.ts'
import { leaderOfContainer, type Machine } from './machine.ts'

/**
 * A descriptor of the machine's root directory as its leader sees it, for the caller to close (spec/dbus.md 7.10).
 * Throws NotSupported for what is no container, EBUSY while too many earlier jobs hang in there, ETIMEDOUT.
 */
export async function openRootDirectoryOf(machine: Machine, workers: NamespaceWorkers): Promise<number> {
  try {
    if (machine.class === 'host') return fs.openSync('/', fs.constants.O_RDONLY | fs.constants.O_DIRECTORY)
    const leader = leaderOfContainer(machine, 'Opening the root directory')
    return await workers.run(machine, { leader }, 'openRootDirectory', undefined)
  } catch (error) {
    throw explain(`Failed to open root directory of machine '${machine.name}'`, error)
  }
}

import { constants as os } from 'node:os'
import { posix } from 'node:path'
import { explain, isSystemError, systemError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import type { Operation, Operations } from '../base/operations.ts'
import { CopyControl } from '../linux/copy-control.ts'
import type { CopyThreads } from '../linux/copy-threads.ts'
import { uidShift } from '../linux/id-map.ts'
import { closeFd } from '../linux/libc.ts'
import type { NamespaceWorkers } from '../linux/namespace-workers.ts'
import { leaderOfContainer, type Machine } from './machine.ts'

const REPLACE = 1n

/** Which way a copy goes, seen from the caller. */
export type CopyDirection = 'from' | 'to'

/** What is copied: one path is the host's, the other the machine's; both are absolute and normalized. */
export interface Copy {
  readonly machine: Machine
  readonly direction: CopyDirection
  readonly source: string
  readonly destination: string
  /** Whether files that exist make way. */
  readonly replace: boolean
}

/** What it takes to copy. */
export interface Copiers {
  readonly operations: Operations
  readonly copies: CopyThreads
  readonly workers: NamespaceWorkers
}

/** Reads the flags of a copy. Throws EINVAL for those that we do not know. */
export function parseCopyFlags(flags: bigint): { replace: boolean } {
  if ((flags & ~REPLACE) !== 0n) throw systemError(os.errno.EINVAL, 'copy')
  return { replace: flags === REPLACE }
}

/** Throws what a copy can be refused for without looking at its paths: LimitsExceeded, NotSupported (spec/dbus.md 7.9). */
export function requireCopyable(machine: Machine, operations: Operations): void {
  operations.requirePlace('copy')
  leaderOfContainer(machine, 'Copying files')
}

/**
 * Copies a file or tree between the host and a container, in the background; done when the promise is kept. Throws what
 * kept it from beginning, explained; of what went wrong later the first as the bare error, ECANCELED when the machine
 * went meanwhile.
 */
export async function copyFiles(copy: Copy, copiers: Copiers): Promise<void> {
  requireCopyable(copy.machine, copiers.operations)
  await copiers.operations.run('copy', copy.machine, (operation) => perform(copy, copiers, operation))
}

async function perform(copy: Copy, { copies, workers }: Copiers, operation: Operation): Promise<void> {
  const { machine, direction, replace } = copy
  const leader = leaderOfContainer(machine, 'Copying files')
  const [host, inside] = direction === 'to' ? [copy.source, copy.destination] : [copy.destination, copy.source]
  const { shift, names, hostDirectory } = await begin(copy, async () => ({
    shift: uidShift(leader),
    names: { host: lastOf(host), inside: lastOf(inside) },
    hostDirectory: await copies.run('openDirectory', posix.dirname(host))
  }))
  const opened = [hostDirectory]
  try {
    operation.signal.throwIfAborted()
    const directory = await workers.run(machine, { leader }, 'openDirectory', posix.dirname(inside))
    opened.push(directory)
    operation.signal.throwIfAborted()
    const ends = [
      { directory: hostDirectory, name: names.host },
      { directory, name: names.inside }
    ] as const
    const [from, to] = direction === 'to' ? ends : ([ends[1], ends[0]] as const)
    const owner = shift === 0 ? undefined : direction === 'to' ? shift : 0
    const control = controlOf(operation)
    const request = { from, to, fromMachine: direction === 'from', owner, replace, control: control.shared }
    await copies.run('copyTree', request, { moved: operation.moved })
  } catch (error) {
    tell(copy, error)
    throw error
  } finally {
    opened.forEach(closeFd)
  }
}

async function begin<T>({ machine }: Copy, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw explain(`Failed to copy from/to machine '${machine.name}'`, error)
  }
}

/** The last component of a path. Throws EADDRNOTAVAIL for the root, which has none. */
function lastOf(path: string): string {
  const name = posix.basename(path)
  if (name === '') throw systemError(os.errno.EADDRNOTAVAIL, 'copy', path)
  return name
}

/** Ties what the thread looks at and reports to the operation. */
function controlOf(operation: Operation): CopyControl {
  const control = new CopyControl()
  operation.signal.addEventListener('abort', () => {
    control.cancel()
  })
  operation.reportFrom(() => control.progress)
  return control
}

/** The caller learns only an errno; which file it was about is in the log. */
function tell({ machine, direction, source, destination }: Copy, error: unknown): void {
  if (!isSystemError(error)) return
  const way = direction === 'to' ? `'${source}' to '${destination}' in` : `to '${destination}' from '${source}' in`
  log.info({ NAME: machine.name, err: error }, `Failed to copy ${way} machine ${machine.name}`)
}

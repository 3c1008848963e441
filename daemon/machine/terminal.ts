import { constants as os } from 'node:os'
import { systemError } from '../base/errors.ts'
import type { OpenedTerminal } from '../linux/jobs-open-terminal.ts'
import type { NamespaceWorkers } from '../linux/namespace-workers.ts'
import { rootOf } from '../linux/id-map.ts'
import type { PidRef } from '../linux/process.ts'
import type { Machine } from './machine.ts'

/** The master side of a pseudo-terminal of a machine, for the caller to close, and where its other side is in there. */
export interface Terminal {
  readonly fd: number
  /** Such as `/dev/pts/3`. */
  readonly path: string
}

/**
 * Allocates a pseudo-terminal in a machine (spec/dbus.md 7.5). Throws EOPNOTSUPP for a VM, EINVAL when the leader is not
 * known any more, ENODEV where the machine offers something else in its place, EBUSY, ETIMEDOUT.
 */
export async function openTerminal(machine: Machine, workers: NamespaceWorkers): Promise<Terminal> {
  const { fd, number } = await allocate(machine, workers, false)
  return { fd, path: terminalPath(number) }
}

/** The same, with the other side opened too, also for the caller to close. */
export async function openTerminalPair(
  machine: Machine,
  workers: NamespaceWorkers
): Promise<Terminal & { readonly peer: number }> {
  const { fd, number, peer } = await allocate(machine, workers, true)
  return { fd, path: terminalPath(number), peer: peer as number }
}

/** What is between `/dev/` and the end of the path, such as `pts/3`. */
export function terminalName({ path }: Terminal): string {
  return path.slice('/dev/'.length)
}

/** The number alone, which the units of logins and shells are named by. */
export function terminalNumber({ path }: Terminal): string {
  return path.slice('/dev/pts/'.length)
}

/** The process that stands for the inside of a container or the host; see `openTerminal` for what it throws. */
export function leaderForTerminals({ class: kind, registration }: Machine): PidRef {
  if (kind === 'vm') throw systemError(os.errno.EOPNOTSUPP, 'openpty')
  if (registration.leader === undefined) throw systemError(os.errno.EINVAL, 'openpty')
  return registration.leader
}

function allocate(machine: Machine, workers: NamespaceWorkers, peer: boolean): Promise<OpenedTerminal> {
  const leader = leaderForTerminals(machine)
  // The terminal has to be its own root's: a login hands it on to the user, which only its owner or our root may do.
  return workers.run(machine, { leader }, 'openTerminal', { owner: rootOf(leader), peer })
}

function terminalPath(number: number): string {
  return `/dev/pts/${String(number)}`
}

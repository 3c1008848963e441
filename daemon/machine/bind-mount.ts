import { constants as os } from 'node:os'
import { explain, systemError } from '../base/errors.ts'
import { mapToHost, readIdMap } from '../linux/id-map.ts'
import { closeFd } from '../linux/libc.ts'
import { openForeignNamespace } from '../linux/namespace.ts'
import type { NamespaceWorkers } from '../linux/namespace-workers.ts'
import type { PidRef } from '../linux/process.ts'
import { leaderOfContainer, type Machine } from './machine.ts'

/** What of the host is to be seen where in a machine; both paths are absolute and normalized. */
export interface BindMount {
  readonly source: string
  readonly destination: string
  readonly readOnly: boolean
  /** Whether to make the destination, and the directories on the way to it. */
  readonly mkdir: boolean
}

/** Throws NotSupported for what is no container. */
export function requireBindable(machine: Machine): void {
  leaderOfContainer(machine, 'Bind mounting')
}

/**
 * Mounts a file or directory of the host in a running container (spec/dbus.md 7.8), also in one with users of its own:
 * there its root is to the files what root is on the host. Throws NotSupported for what is no container, and where the
 * source's file system cannot map users; else what the kernel says, explained.
 */
export async function bindMount(machine: Machine, bind: BindMount, workers: NamespaceWorkers): Promise<void> {
  const leader = leaderOfContainer(machine, 'Bind mounting')
  const { source, destination, readOnly, mkdir } = bind
  let userNamespace: number | undefined
  try {
    requireOwnMounts(leader)
    userNamespace = openForeignNamespace(leader, 'user')
    const makeAs = mkdir ? rootOf(leader) : undefined
    await workers.run(machine, { leader }, 'bindMount', { source, destination, readOnly, userNamespace, makeAs })
  } catch (error) {
    throw explain(`Failed to mount ${source} on ${destination} in machine's namespace`, error)
  } finally {
    if (userNamespace !== undefined) closeFd(userNamespace)
  }
}

/** What shares the host's mounts has nothing that could be mounted for it alone. */
function requireOwnMounts(leader: PidRef): void {
  const namespace = openForeignNamespace(leader, 'mnt')
  if (namespace === undefined) throw systemError(os.errno.EINVAL, 'move_mount')
  closeFd(namespace)
}

/** Root of the machine, as the host numbers it. */
function rootOf(leader: PidRef): { uid: number; gid: number } {
  const [uid = 0, gid = 0] = (['uid', 'gid'] as const).map((kind) => mapToHost(readIdMap(leader, kind), 0))
  return { uid, gid }
}

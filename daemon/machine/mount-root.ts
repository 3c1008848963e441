import { constants as os } from 'node:os'
import { MachinedError, systemError } from '../base/errors.ts'
import { Rollback } from '../base/rollback.ts'
import { closeFd } from '../linux/libc.ts'
import { changeMount } from '../linux/mount.ts'
import type { NamespaceWorkers } from '../linux/namespace-workers.ts'
import type { PidRef } from '../linux/process.ts'
import { leaderOfContainer, type Machine } from './machine.ts'
import type { MountDirectory } from './mount-directory.ts'
import { detach } from './unmount.ts'

/** How a root is to be mounted. */
export interface MountOptions {
  readonly readOnly: boolean
  /** With the machine's /proc, /sys and /dev. */
  readonly recursive: boolean
}

/** What it takes to mount. */
export interface MountMeans {
  readonly workers: NamespaceWorkers
  readonly directory: MountDirectory
}

/** A machine could have so many that the host has no place for more. */
const MOST_MOUNTS = 4096

/**
 * Mounts the tree of files that a container sees on the host and gives the mount point. Throws NotSupported for what is
 * no container; ETIMEDOUT and EBUSY for one whose file systems do not answer; LimitsExceeded for one with thousands of
 * mounts.
 */
export async function mountRootOf(machine: Machine, options: MountOptions, means: MountMeans): Promise<string> {
  const leader = leaderOfContainer(machine, 'Mounting the root directory')
  const tree = await means.workers.run(machine, { leader }, 'cloneRootTree', undefined)
  const rollback = new Rollback()
  try {
    return await attach(machine, { leader, tree, rollback }, options, means)
  } catch (error) {
    await rollback.undo()
    throw error
  } finally {
    closeFd(tree)
  }
}

async function attach(
  machine: Machine,
  { leader, tree, rollback }: { leader: PidRef; tree: number; rollback: Rollback },
  { readOnly, recursive }: MountOptions,
  { workers, directory }: MountMeans
): Promise<string> {
  const set = ['noSuid', 'noDev', ...(readOnly ? (['readOnly'] as const) : [])] as const
  changeMount(tree, { set, private: true, recursive: true })
  const point = directory.makePoint(machine.name)
  rollback.add(() => {
    directory.removePoint(machine.name)
  })
  directory.setLeader(machine.name, leader)
  directory.attach(tree, point)
  rollback.add(() => detach(point, workers))
  const mount = { name: machine.name, mountPoint: point, readOnly }
  if (directory.count(mount) > MOST_MOUNTS) {
    throw new MachinedError('LimitsExceeded', `Machine '${machine.name}' has more than ${MOST_MOUNTS} mounts`)
  }
  if (!recursive) await cover(machine, { leader, tree }, { workers, directory })
  // What goes with the machine must not come after it.
  if (!leader.isAlive()) throw systemError(os.errno.ESRCH, 'move_mount')
  return point
}

/** Looking names up in there can hang, so it is not done here. */
async function cover(
  machine: Machine,
  { leader, tree }: { leader: PidRef; tree: number },
  { workers, directory }: MountMeans
): Promise<void> {
  const empty = directory.openEmpty()
  try {
    await workers.run(machine, { leader }, 'coverKernelDirectories', { tree, empty })
  } finally {
    closeFd(empty)
  }
}

import { bindMount } from './jobs-bind-mount.ts'
import { connectBus } from './jobs-connect-bus.ts'
import { openDirectory } from './jobs-open-directory.ts'
import { openTerminal } from './jobs-open-terminal.ts'
import { openRootDirectory } from './jobs-root-directory.ts'
import { readOSRelease } from './jobs-os-release.ts'
import { writeFiles } from './jobs-write-files.ts'
import { cloneRootTree, coverKernelDirectories } from './jobs-root-tree.ts'
import { detachPath, holdersOf } from './jobs-unmount.ts'
import type { Identity } from './thread-identity.ts'

/** Where a job works: beside the root directory of a machine's leader. */
export interface Place {
  /** That directory (O_PATH), for the `*at` calls; closed after the job. */
  readonly rootFd: number
  /**
   * Runs `work` with the thread in the leader's mount namespace and chrooted to its root, then comes back to the host's.
   * Nothing may be loaded or imported in there: it would come from the machine.
   */
  inside<T>(work: () => T): T
  /** Like `inside`, but at the root of that namespace, which need not be the leader's. */
  inNamespace<T>(work: () => T): T
  /** Runs `work` with the thread as another user: without root's capabilities, and known as that user to its peers. */
  as<T>(identity: Identity, work: () => T): T
  /**
   * Says that the descriptor goes to whoever asked for the job: it is closed when the job fails after all or comes
   * too late. Returns it. All others a job must close itself.
   */
  give(fd: number): number
}

/**
 * The closed list of what namespace workers do. A job is a synchronous function of a place and arguments; arguments and
 * result are what structuredClone takes. It uses only libc and Node's `*Sync` calls, and distrusts every name in there.
 */
export const jobs = {
  bindMount,
  cloneRootTree,
  connectBus,
  coverKernelDirectories,
  detachPath,
  holdersOf,
  openDirectory,
  openRootDirectory,
  openTerminal,
  readOSRelease,
  writeFiles
}

export type Jobs = typeof jobs

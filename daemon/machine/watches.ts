import { log } from '../base/log.ts'
import { cgroupPath, isEmptyCgroup, watchCgroupEvents } from '../linux/cgroup.ts'
import { watchExit } from '../linux/exit-watch.ts'
import type { Machine } from './machine.ts'

/** What is watched on behalf of one machine; closed together when it goes. */
export class Watches {
  readonly #open = new Set<{ close(): void }>()

  /** Calls back once when the process of a pidfd has exited. The descriptor stays the caller's. */
  onExit(pidfd: number, callback: () => void): void {
    const watch = watchExit(pidfd, () => {
      this.#open.delete(watch)
      callback()
    })
    this.#open.add(watch)
  }

  add(watch: { close(): void }): void {
    this.#open.add(watch)
  }

  close(): void {
    for (const watch of this.#open) watch.close()
    this.#open.clear()
  }
}

/**
 * Watches all that may be the end of a machine. Its supervisor is not: a machine lives on without one. Throws SystemError
 * when the leader cannot be watched.
 */
export function watchMachine(machine: Machine, check: () => void): Watches {
  const { leader } = machine.registration
  const watches = new Watches()
  if (leader?.pidfd !== undefined) watches.onExit(leader.pidfd, check)
  if (machine.subgroup !== '' && leader !== undefined) watchCgroup(watches, leader.pid, check)
  return watches
}

function watchCgroup(watches: Watches, pid: number, check: () => void): void {
  try {
    const path = cgroupPath(pid)
    watches.add(
      watchCgroupEvents(path, () => {
        if (isEmptyCgroup(path)) check()
      })
    )
  } catch (error) {
    log.debug({ err: error }, `Failed to watch the cgroup of process ${String(pid)}`)
  }
}

import { constants as os } from 'node:os'
import { explain, isSystemError, systemError } from '../base/errors.ts'
import type { NamespaceWorkers } from '../linux/namespace-workers.ts'
import { PidRef } from '../linux/process.ts'

/** Writing back what a file system on a slow disk holds takes its time. */
const DETACH_DEADLINE_MS = 120_000
/** More than can ever be stacked by mistake. */
const MOST_LAYERS = 16

/** Detaches all that is mounted at a path of the host; nothing may be. Throws ETIMEDOUT when that takes minutes. */
export async function detach(path: string, workers: NamespaceWorkers): Promise<void> {
  using self = PidRef.pin(process.pid)
  for (let layer = 0; layer < MOST_LAYERS; layer++) {
    try {
      await workers.run({}, { leader: self }, 'detachPath', path, { deadlineMs: DETACH_DEADLINE_MS })
    } catch (error) {
      if (isSystemError(error) && ['EINVAL', 'ENOENT'].includes(error.code)) return
      throw error
    }
  }
}

/** Throws EBUSY that says which processes use what is mounted at a path of the host, if some do. */
export async function refuseInUse(path: string, workers: NamespaceWorkers): Promise<void> {
  using self = PidRef.pin(process.pid)
  const holders = await workers.run({}, { leader: self }, 'holdersOf', path)
  if (holders.length === 0) return
  const names = holders.map(({ pid, name }) => `${name} (PID ${String(pid)})`).join(', ')
  throw explain(`${path} is in use by ${names}`, systemError(os.errno.EBUSY, 'umount2'))
}

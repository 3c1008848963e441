import { constants as os } from 'node:os'
import { ExplainedError, isSystemError, systemError } from '../base/errors.ts'
import type { Holder } from '../linux/mount-holders.ts'
import type { NamespaceWorkers } from '../linux/namespace-workers.ts'
import { PidRef } from '../linux/process.ts'

/** Writing back what a file system on a slow disk holds takes its time. */
const DETACH_DEADLINE_MS = 120_000
/** More than can ever be stacked by mistake. */
const MOST_LAYERS = 16

/** EBUSY that says by whom. */
export class InUseError extends ExplainedError {
  readonly holders: readonly Holder[]

  constructor(path: string, holders: readonly Holder[]) {
    const names = holders.map(({ pid, name }) => `${name} (PID ${String(pid)})`).join(', ')
    super(`${path} is in use by ${names}`, systemError(os.errno.EBUSY, 'umount2'))
    this.holders = holders
  }
}

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

/** Throws InUseError if there are processes that use what is mounted at a path of the host. */
export async function refuseInUse(path: string, workers: NamespaceWorkers): Promise<void> {
  using self = PidRef.pin(process.pid)
  const holders = await workers.run({}, { leader: self }, 'holdersOf', path)
  if (holders.length > 0) throw new InUseError(path, holders)
}

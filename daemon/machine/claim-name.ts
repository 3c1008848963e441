import type { PidRef } from '../linux/process.ts'
import { cgroupPath } from '../linux/cgroup.ts'
import type { Machine } from './machine.ts'
import type { Machines } from './machines.ts'

/** How long a registration waits for the previous bearer of its name to go; its scope may take as long, and clients wait for 25 s. */
const PATIENCE_MS = 10_000

/**
 * Makes way for a machine whose name is still held by one that is dead or going down, as when a container restarts.
 * Returns the machine that holds the name with this very leader: registering it again is a success.
 * Returns undefined when the name is free, or held by a machine that lives.
 */
export async function claimName(machines: Machines, name: string, leader: PidRef): Promise<Machine | undefined> {
  const holder = machines.find(name)
  if (holder?.started !== true || holder.class === 'host') return undefined
  if (holder.registration.leader?.equals(leader) === true) return holder
  if (!(await machines.isGoingDown(holder))) return undefined
  if (!holder.leaderAlive && holder.unit === unitOf(machines, leader)) machines.unregister(holder)
  else await removal(machines, holder)
  if (!holder.leaderAlive) machines.unregister(holder)
  return undefined
}

function unitOf(machines: Machines, leader: PidRef): string | undefined {
  try {
    return machines.unitOf(cgroupPath(leader.pid))?.unit
  } catch {
    return undefined
  }
}

async function removal(machines: Machines, holder: Machine): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      machines.off('removed', onRemoved)
      resolve()
    }
    const onRemoved = (machine: Machine): void => {
      if (machine === holder) done()
    }
    const timer = setTimeout(done, PATIENCE_MS)
    machines.on('removed', onRemoved)
    machines.collect(holder)
  })
}

import { ExplainedError, systemError } from '../base/errors.ts'
import { cgroupPath, type UnitPlace } from '../linux/cgroup.ts'
import { parentPid, type PidRef } from '../linux/process.ts'
import type { Machine } from './machine.ts'
import type { Machines } from './machines.ts'

const ENXIO = 6

/** The machine a process belongs to: by leader, by unit, then by its ancestors (spec/dbus.md 3.3). */
export function findMachineOfProcess(machines: Machines, pid: number, process?: PidRef): Machine | undefined {
  for (let current: number | undefined = pid; current !== undefined && current > 0; current = parentPid(current)) {
    const machine = machines.findByLeader(current, current === pid ? process : undefined) ?? byUnit(machines, current)
    if (machine !== undefined) return machine
  }
  return undefined
}

function byUnit(machines: Machines, pid: number): Machine | undefined {
  try {
    const found = machines.unitOf(cgroupPath(pid))
    return found === undefined ? undefined : machines.findByUnit(found.unit)
  } catch {
    return undefined
  }
}

/** The unit that holds a process, and its cgroup below that. Throws ENXIO when it is in none, ESRCH when it is gone. */
export function unitOfLeader(machines: Pick<Machines, 'unitOf'>, leader: PidRef): UnitPlace {
  const found = machines.unitOf(cgroupPath(leader.pid))
  if (found === undefined) {
    const text = `Failed to determine unit of process ${String(leader.pid)} `
    throw new ExplainedError(text, systemError(ENXIO, 'cgroup'))
  }
  return found
}

import { MachinedError, systemError } from '../base/errors.ts'
import type { ServiceManager } from '../bus/systemd.ts'
import type { Machine } from './machine.ts'

const ESRCH = 3
const WHOM = ['leader', 'supervisor', 'all'] as const
type Whom = (typeof WHOM)[number]

/** Reads kill's `whom`; empty means all. Throws InvalidArgs. */
export function parseWhom(whom: string): Whom {
  const known = WHOM.find((candidate) => candidate === (whom || 'all'))
  if (known === undefined) throw new MachinedError('InvalidArgs', `Invalid kill parameter '${whom}'`)
  return known
}

/** Throws InvalidArgs unless `signal` is one that kill(2) takes. */
export function checkSignal(signal: number): void {
  if (signal < 1 || signal > 64) throw new MachinedError('InvalidArgs', `Invalid signal ${String(signal)}`)
}

/** Sends a signal to a machine's leader, supervisor or all of its processes (spec/dbus.md 3.6). Throws ESRCH. */
export async function kill(systemd: ServiceManager, machine: Machine, whom: Whom, signal: number): Promise<void> {
  if (machine.class === 'host') throw new MachinedError('NotSupported', 'Operation not supported')
  if (whom === 'all') {
    if (machine.unit === '') throw systemError(ESRCH, 'kill')
    if (machine.ownsUnit) await systemd.killUnit(machine.unit, 'all', signal)
    else await systemd.killUnitSubgroup(machine.unit, machine.subgroup, signal)
    return
  }
  const process = machine.registration[whom]
  if (process === undefined) throw systemError(ESRCH, 'kill')
  process.kill(signal)
}

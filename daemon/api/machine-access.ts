import type { Manager } from '../manager.ts'
import type { Machine } from '../machine/machine.ts'
import type { AccessRule } from './access.ts'

/** A machine with the manager that tracks it: what a call on a machine works on. */
export interface MachineTarget {
  readonly manager: Manager
  readonly machine: Machine
}

/** Acting on a machine is for its owner and for whom polkit lets (spec/dbus.md 3.6). */
export function manageRule({ name, registration }: Machine, verb: string): AccessRule<'manage-machines'> {
  return { action: 'manage-machines', details: { machine: name, verb }, owner: registration.owner }
}

/** Reaching into a machine's files is nobody's by right, not even its owner's (spec/dbus.md 7.8 to 7.10). */
export function reachInRule(
  { name }: Machine,
  verb: string,
  details: Readonly<Record<string, string>> = {}
): AccessRule<'manage-machines'> {
  return { action: 'manage-machines', details: { machine: name, verb, ...details } }
}

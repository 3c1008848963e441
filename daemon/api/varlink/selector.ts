import { readFileSync } from 'node:fs'
import { MachinedError, isSystemError } from '../../base/errors.ts'
import { PidRef } from '../../linux/process.ts'
import { findMachineOfProcess } from '../../machine/find-process.ts'
import type { Machine } from '../../machine/machine.ts'
import type { Manager } from '../../manager.ts'
import type { AccessRule, Grant } from '../access.ts'
import type { MachineTarget } from '../machine-access.ts'
import type { ActionName } from '../polkit-actions.ts'
import type { Call } from './call.ts'
import { interactiveAuthentication, processIdType, readMachineName, readProcessId, type ProcessId } from './fields.ts'
import { method, optional, string, type Fields, type MethodRow, type Parameters, type Result } from './schema.ts'
import type { ValuesOf } from './schema.ts'

/** The parameters that say which machine is meant (spec/varlink-and-clients.md A6). */
export const selector = {
  name: optional(string, 'The name of the machine; `.host` is this system.', (value) =>
    value === '.host' ? value : readMachineName(value)
  ),
  pid: optional(
    processIdType,
    'A process of the machine. PID 0 and nothing else means the process that calls.',
    readProcessId
  ),
  allowInteractiveAuthentication: interactiveAuthentication
}

/** What a selector was read as. */
export interface Selected {
  readonly name: string | undefined
  readonly pid: ProcessId | undefined
}

/** The machine that is meant. Throws NoSuchMachine, also when name and process disagree or neither is there. */
export function selectMachine({ machines }: Manager, { name, pid }: Selected, call: Call): Machine {
  const named = name === undefined ? undefined : machines.get(name)
  const running = pid === undefined ? undefined : machineOfProcess(machines, pid, call)
  const machine = named ?? running
  if (machine === undefined || (pid !== undefined && running !== machine)) {
    throw new MachinedError('NoSuchMachine', 'No such machine known')
  }
  return machine
}

function machineOfProcess(machines: Manager['machines'], id: ProcessId, call: Call): Machine | undefined {
  const process = pinned(id, call)
  if (process === undefined) return undefined
  try {
    return findMachineOfProcess(machines, process.pid, process)
  } finally {
    process.close()
  }
}

function pinned(id: ProcessId, call: Call): PidRef | undefined {
  const isCaller = id.pid === 0 && id.pidfdId === undefined && id.bootId === undefined
  try {
    return isCaller ? call.pin() : pinProcess(id)
  } catch (error) {
    if (isSystemError(error) && error.code === 'ESRCH') return undefined
    throw error
  }
}

/** Pins the process that is meant, for the caller to close. Throws ESRCH when there is none, or another has its PID now. */
export function pinProcess({ pid, pidfdId, bootId: boot }: ProcessId): PidRef {
  const process = PidRef.pin(pid)
  const isOther = pidfdId !== undefined && process.pidfdId !== 0n && process.pidfdId !== pidfdId
  if (!isOther && (boot === undefined || boot === currentBootId())) return process
  process.close()
  return PidRef.pin(0)
}

/** Read once: reading it takes as long as all the rest of a reply. */
let bootId: string | undefined

/** The boot as ProcessId has it. */
export function currentBootId(): string {
  bootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim().replaceAll('-', '')
  return bootId
}

/** A method on one machine; `rule` says what a call needs, and with undefined anybody may call. */
interface MachineRow<P extends Parameters, N extends ActionName> {
  readonly doc: string
  readonly in: P
  readonly out: Fields
  readonly actions: readonly N[]
  readonly rule?: (target: MachineTarget, values: ValuesOf<P>) => AccessRule<NoInfer<N>>
  readonly run: (target: MachineTarget, values: ValuesOf<P>, call: Call, grant: Grant) => Result | Promise<Result>
}

/** Makes a row of the manager out of one on a machine, by way of the selector. */
export function onMachine<const P extends Parameters, const N extends ActionName>(
  row: MachineRow<P, N>
): MethodRow<Manager> {
  const { doc, out, actions, rule, run } = row
  type Given = Selected & ValuesOf<P>
  const target = (manager: Manager, values: Selected, call: Call): MachineTarget => ({
    manager,
    machine: selectMachine(manager, values, call)
  })
  const access =
    rule === undefined
      ? ('anyone' as const)
      : {
          actions,
          rule: (manager: Manager, values: unknown, call: Call) =>
            rule(target(manager, values as Given, call), values as Given)
        }
  return method({
    doc,
    in: { ...selector, ...row.in },
    out,
    access,
    run: (manager: Manager, values: unknown, call, grant) =>
      run(target(manager, values as Given, call), values as Given, call, grant)
  })
}

/** The rule of D-Bus with the detail's name that Varlink has for the machine (spec/varlink-and-clients.md A5). */
export function named<N extends ActionName>(rule: AccessRule<N>): AccessRule<N> {
  const { machine = '', ...details } = rule.details
  return { ...rule, details: { name: machine, ...details } }
}

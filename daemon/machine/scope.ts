import { MachinedError } from '../base/errors.ts'
import { Variant } from '../bus/client-bus.ts'
import { errorName, type ServiceManager, type UnitProperty } from '../bus/systemd.ts'
import { scopeNameForMachine } from '../linux/cgroup.ts'
import { dupFd } from '../linux/libc.ts'
import type { Machine } from './machine.ts'
import type { UnitChanges, UnitWatch } from './unit-changes.ts'

const TASKS_MAX = 16384n

/** How long a new scope waits for the previous one of its name to go, well below the clients' 25 s. */
const PATIENCE_MS = 10_000

/** What a scope is made of and with. */
export interface ScopeRequest {
  readonly machine: Machine
  /** The caller's; they come last, so that they win. Their descriptors stay the caller's. */
  readonly properties: readonly UnitProperty[]
  readonly changes: UnitChanges
  /** Whether the machine is still to have a scope. */
  readonly wanted: () => boolean
}

/**
 * Asks PID 1 for the machine's own scope around its leader (spec/dbus.md 3.5.7) and returns the start job. A scope of
 * the same name that is going down, or has failed, is waited for; otherwise rejects with PID 1's error.
 */
export async function createScope(systemd: ServiceManager, request: ScopeRequest): Promise<string> {
  const unit = scopeNameForMachine(request.machine.name)
  using watch = request.changes.watch(unit)
  const end = Date.now() + PATIENCE_MS
  for (;;) {
    try {
      return await startScope(systemd, unit, request)
    } catch (error) {
      const mayTryAgain = isUnitExists(error) && (await makesWay(systemd, unit, watch, end)) && request.wanted()
      if (!mayTryAgain) throw error
    }
  }
}

/** Waits till a scope that is over says something more. False when it is not over, or silent for too long. */
async function makesWay(systemd: ServiceManager, unit: string, watch: UnitWatch, end: number): Promise<boolean> {
  const state = await systemd.activeState(unit)
  if (state === 'active' || state === 'activating' || state === 'reloading') return false
  // A failed unit may be kept for the administrator to look at, but not against its successor.
  if (state === 'failed') await systemd.resetFailedUnit(unit).catch(() => undefined)
  // Our reference on the previous scope keeps it too, if PID 1 was not there to hear that we dropped it.
  await systemd.unrefUnit(unit).catch(() => undefined)
  return watch.changed(end - Date.now())
}

async function startScope(systemd: ServiceManager, unit: string, request: ScopeRequest): Promise<string> {
  const { machine, properties } = request
  const start = (leader: UnitProperty): Promise<string> => {
    const own = properties.map(([name, value]): UnitProperty => [name, withOwnDescriptors(value)])
    return systemd.startTransientUnit(unit, [...scopeProperties(machine, leader), ...own])
  }
  const { pid, pidfd } = machine.registration.leader ?? { pid: 0, pidfd: undefined }
  const byPid: UnitProperty = ['PIDs', new Variant('au', [pid])]
  if (pidfd === undefined) return start(byPid)
  try {
    return await start(['PIDFDs', new Variant('ah', [dupFd(pidfd)])])
  } catch (error) {
    if (!isUnknownProperty(error)) throw error
    return start(byPid)
  }
}

/** A message owns its descriptors and closes them once sent, so those of the caller's message must not go into ours. */
function withOwnDescriptors({ signature, value }: Variant): Variant {
  if (signature === 'h') return new Variant(signature, dupFd(value as number))
  if (signature === 'ah') return new Variant(signature, (value as number[]).map(dupFd))
  if (/[hv]/.test(signature)) throw new MachinedError('InvalidArgs', `Unsupported scope property type '${signature}'`)
  return new Variant(signature, value)
}

function scopeProperties(machine: Machine, leader: UnitProperty): UnitProperty[] {
  const kind = machine.class === 'vm' ? 'Virtual Machine' : 'Container'
  const { owner } = machine.registration
  return [
    ['Slice', new Variant('s', 'machine.slice')],
    ['Description', new Variant('s', `${kind} ${machine.name}`)],
    leader,
    ['Delegate', new Variant('b', true)],
    ['CollectMode', new Variant('s', 'inactive-or-failed')],
    ['AddRef', new Variant('b', true)],
    ['TasksMax', new Variant('t', TASKS_MAX)],
    ...(owner === 0 ? [] : [['User', new Variant('s', String(owner))] satisfies UnitProperty])
  ]
}

/** Before 254, PID 1 knew no PIDFDs. */
function isUnknownProperty(error: unknown): boolean {
  return /\.(UnknownProperty|PropertyReadOnly)$/.test(errorName(error))
}

function isUnitExists(error: unknown): boolean {
  return errorName(error) === 'org.freedesktop.systemd1.UnitExists'
}

import { MachinedError, isSystemError } from '../base/errors.ts'
import { isValidId, mapFromHost, mapToHost, readIdMap, uidShift } from '../linux/id-map.ts'
import type { Machine } from './machine.ts'
import type { Machines } from './machines.ts'

export type IdKind = 'uid' | 'gid'

/** IDs below belong to the host. */
const FIRST_CONTAINER_ID = 65536

const WORDS = {
  uid: { capital: 'User', lower: 'user', range: 'UID', code: 'NoSuchUserMapping' },
  gid: { capital: 'Group', lower: 'group', range: 'GID', code: 'NoSuchGroupMapping' }
} as const

/** Throws InvalidArgs for the two IDs that mean "none". */
export function checkId(kind: IdKind, id: number): void {
  if (!isValidId(id)) throw new MachinedError('InvalidArgs', `Invalid ${WORDS[kind].lower} ID ${String(id)}`)
}

/** The host's ID for one inside a machine (spec/dbus.md 9.1). */
export function idOnHost(machine: Machine, kind: IdKind, id: number): number {
  const { leader } = machine.registration
  if (machine.class !== 'container') {
    throw new MachinedError('InvalidArgs', 'Not supported for non-container machines.')
  }
  const mapped = leader === undefined ? undefined : mapToHost(readIdMap(leader, kind), id)
  if (mapped !== undefined) return mapped
  // For groups too the error is that of users: clients know it so (spec/dbus.md 13, 20).
  const text = `Machine '${machine.name}' has no matching ${WORDS[kind].lower} mappings.`
  throw new MachinedError('NoSuchUserMapping', text)
}

/** The machine that an ID of the host belongs to, and the ID inside (spec/dbus.md 9.2). */
export function idInMachine(machines: Machines, kind: IdKind, id: number): { machine: Machine; id: number } {
  const { capital, lower, range, code } = WORDS[kind]
  if (id < FIRST_CONTAINER_ID) {
    throw new MachinedError(code, `${capital} ${String(id)} belongs to host ${range} range`)
  }
  for (const machine of machines.all()) {
    const inside = idInside(machine, kind, id)
    if (inside !== undefined) return { machine, id: inside }
  }
  throw new MachinedError(code, `No matching ${lower} mapping for ${String(id)}.`)
}

/** One machine whose map cannot be read must not spoil the search. */
function idInside(machine: Machine, kind: IdKind, id: number): number | undefined {
  const { leader } = machine.registration
  if (machine.class !== 'container' || leader === undefined) return undefined
  try {
    return mapFromHost(readIdMap(leader, kind), id)
  } catch {
    return undefined
  }
}

/** The first host UID of a machine's user namespace (spec/dbus.md 7.4). */
export function uidShiftOf(machine: Machine): number {
  if (machine.class === 'host') return 0
  if (machine.class !== 'container') {
    throw new MachinedError('NotSupported', 'UID/GID shift may only be determined for container machines.')
  }
  const { leader } = machine.registration
  if (leader === undefined) return 0
  try {
    return uidShift(leader)
  } catch (error) {
    if (!isSystemError(error) || error.code !== 'ENXIO') throw error
    const text = `Machine ${machine.name} uses a complex UID/GID mapping, cannot determine shift`
    throw new MachinedError('NotSupported', text)
  }
}

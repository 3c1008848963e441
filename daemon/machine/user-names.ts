import { mapToHost, readIdMap } from '../linux/id-map.ts'
import { idInMachine, type IdKind } from './id-mapping.ts'
import { MachinedError } from '../base/errors.ts'
import type { Machine } from './machine.ts'
import type { Machines } from './machines.ts'

/** IDs below belong to the host. */
const FIRST_CONTAINER_ID = 65536
const MOST_CHARACTERS = 31
const PREFIX = { uid: 'vu', gid: 'vg' } as const

/** A user or group of a container as this system has it (spec/varlink-and-clients.md A17). */
export interface ForeignId {
  readonly name: string
  readonly machine: Machine
  readonly inside: number
  readonly outside: number
}

/** Who has an ID of this system; undefined for those of nobody's container, and of one that has no fitting name. */
export function foreignIdOf(machines: Machines, kind: IdKind, outside: number): ForeignId | undefined {
  if (outside < FIRST_CONTAINER_ID) return undefined
  try {
    const { machine, id: inside } = idInMachine(machines, kind, outside)
    const name = `${PREFIX[kind]}-${machine.name}-${String(inside)}`
    return isUserName(name) ? { name, machine, inside, outside } : undefined
  } catch (error) {
    if (error instanceof MachinedError) return undefined
    throw error
  }
}

/** Who has a name such as `vu-MACHINE-0`; undefined for nobody. Throws SystemError when the machine is just going. */
export function foreignIdByName(machines: Machines, kind: IdKind, name: string): ForeignId | undefined {
  const [, prefix, machineName = '', digits = ''] = /^(v[ug])-(.+)-(\d{1,10})$/.exec(name) ?? []
  const machine = machines.find(machineName)
  const { leader } = machine?.registration ?? {}
  if (prefix !== PREFIX[kind] || !isUserName(name) || machine?.class !== 'container' || leader === undefined) {
    return undefined
  }
  const inside = Number(digits)
  const outside = mapToHost(readIdMap(leader, kind), inside)
  return outside === undefined ? undefined : { name, machine, inside, outside }
}

/** Whether it is a user name that programs take without ado. */
function isUserName(name: string): boolean {
  return name.length <= MOST_CHARACTERS && /^[a-zA-Z_][a-zA-Z0-9_-]*$/.test(name)
}

import { MachinedError } from '../../base/errors.ts'
import { isValidId } from '../../linux/id-map.ts'
import { idInMachine, idOnHost, type IdKind } from '../../machine/id-mapping.ts'
import type { Machine } from '../../machine/machine.ts'
import type { Manager } from '../../manager.ts'
import { VarlinkError } from './errors.ts'
import { BadValue, integer, maybe, method, optional, string, type Parameter } from './schema.ts'
import { onMachine } from './selector.ts'
import type { Json } from './json.ts'

/** IDs below are the host's own. */
const FIRST_CONTAINER_ID = 65536
const HOST_RANGE = { uid: 'UserInHostRange', gid: 'GroupInHostRange' } as const

function readHostId(value: Json): number {
  if (typeof value !== 'number' || !isValidId(value)) throw new BadValue()
  return value
}

function id(doc: string): Parameter<number | undefined> {
  return optional(integer, doc, readHostId)
}

export const mapFrom = onMachine({
  doc: 'Tells which user and group of this system those of a container are.',
  in: { uid: id('A user of the container.'), gid: id('A group of the container.') },
  out: {
    uid: maybe(integer, 'The user of this system, where one was asked for.'),
    gid: maybe(integer, 'The group of this system, where one was asked for.')
  },
  actions: [],
  run: ({ machine }, { uid, gid }) => {
    if (machine.class !== 'container') throw new MachinedError('NotSupported', 'Only containers have IDs of their own.')
    return { uid: onHost(machine, 'uid', uid), gid: onHost(machine, 'gid', gid) }
  }
})

function onHost(machine: Machine, kind: IdKind, inner: number | undefined): number | undefined {
  if (inner === undefined) return undefined
  try {
    return idOnHost(machine, kind, inner)
  } catch (error) {
    // On D-Bus a group is missed by the error of users, which clients there know.
    const isMissing = error instanceof MachinedError && error.code === 'NoSuchUserMapping'
    throw isMissing && kind === 'gid' ? new MachinedError('NoSuchGroupMapping', error.message) : error
  }
}

export const mapTo = method({
  doc: 'Tells which container a user and group of this system belong to, and what they are there.',
  in: { uid: id('A user of this system.'), gid: id('A group of this system.') },
  out: {
    uid: maybe(integer, 'The user in the container, where one was asked for.'),
    gid: maybe(integer, 'The group in the container, where one was asked for.'),
    machineName: maybe(string, 'The container.')
  },
  access: 'anyone',
  run: (manager: Manager, given) => {
    const user = inMachine(manager, 'uid', given.uid)
    const group = inMachine(manager, 'gid', given.gid)
    const machine = user?.machine ?? group?.machine
    if (machine === undefined || (group !== undefined && group.machine !== machine)) {
      throw new MachinedError('NoSuchMachine', 'They belong to no machine, or to different ones.')
    }
    return { uid: user?.id, gid: group?.id, machineName: machine.name }
  }
})

function inMachine(
  { machines }: Manager,
  kind: IdKind,
  outer: number | undefined
): ReturnType<typeof idInMachine> | undefined {
  if (outer === undefined) return undefined
  if (outer < FIRST_CONTAINER_ID) throw new VarlinkError(`io.systemd.Machine.${HOST_RANGE[kind]}`)
  return idInMachine(machines, kind, outer)
}

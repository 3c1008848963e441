import { isValidId } from '../../linux/id-map.ts'
import type { IdKind } from '../../machine/id-mapping.ts'
import { type ForeignId, foreignIdByName, foreignIdOf } from '../../machine/user-names.ts'
import type { Manager } from '../../manager.ts'
import { VarlinkError } from './errors.ts'
import { readString, strings } from './fields.ts'
import type { Json } from './json.ts'
import {
  BadValue,
  boolean,
  field,
  integer,
  maybe,
  method,
  needed,
  object,
  optional,
  string,
  type InterfaceTable,
  type Output,
  type Parameter,
  type Type
} from './schema.ts'

const SERVICE = 'io.systemd.Machine'
const INTERFACE = 'io.systemd.UserDatabase'
const NOBODY = 65534

const noRecordFound = (): VarlinkError => new VarlinkError(`${INTERFACE}.NoRecordFound`)

/** Clients ask again without a filter that is refused, and filter themselves. */
function unsupported(type: Type, doc: string): Parameter {
  return optional(type, `${doc} Not supported here, and refused.`, () => {
    throw new BadValue()
  })
}

function id(doc: string): Parameter<number | undefined> {
  return optional(integer, doc, (value) => {
    if (typeof value !== 'number' || !isValidId(value)) throw new BadValue()
    return value
  })
}

function name(doc: string): Parameter<string | undefined> {
  return optional(string, doc, (value: Json) => {
    if (value === '') throw new BadValue()
    return readString(value)
  })
}

const service = needed(
  string,
  `Which of the services behind a socket is asked: here always \`${SERVICE}\`.`,
  readString
)

function requireService(given: string): void {
  if (given !== SERVICE) throw new VarlinkError(`${INTERFACE}.BadService`)
}

/** Finds by ID, by name, or by both, which then have to belong together. */
function find(
  { machines }: Manager,
  kind: IdKind,
  given: { readonly service: string; readonly id: number | undefined; readonly name: string | undefined }
): ForeignId {
  requireService(given.service)
  if (given.id === undefined && given.name === undefined) {
    throw new VarlinkError(`${INTERFACE}.EnumerationNotSupported`)
  }
  const found =
    given.id === undefined ? foreignIdByName(machines, kind, given.name ?? '') : foreignIdOf(machines, kind, given.id)
  if (found === undefined) throw noRecordFound()
  if (given.name !== undefined && given.name !== found.name) {
    throw new VarlinkError(`${INTERFACE}.ConflictingRecordFound`)
  }
  return found
}

function userRecord({ name: userName, machine, inside, outside }: ForeignId): Output {
  return {
    userName,
    uid: outside,
    gid: NOBODY,
    realName: `UID ${String(inside)} of Container ${machine.name}`,
    homeDirectory: '/',
    shell: '/usr/sbin/nologin',
    locked: true,
    service: SERVICE,
    disposition: 'container'
  }
}

function groupRecord({ name: groupName, machine, inside, outside }: ForeignId): Output {
  return {
    groupName,
    gid: outside,
    description: `GID ${String(inside)} of Container ${machine.name}`,
    service: SERVICE,
    disposition: 'container'
  }
}

function filters(prefix: 'uid' | 'gid') {
  return {
    fuzzyNames: unsupported(strings, 'Words that the record has to have in it.'),
    dispositionMask: unsupported(strings, 'The dispositions that are wanted.'),
    [`${prefix}Min`]: unsupported(integer, 'The lowest ID that is wanted.'),
    [`${prefix}Max`]: unsupported(integer, 'The highest ID that is wanted.'),
    uuid: unsupported(string, 'The UUID that is wanted.')
  }
}

const reply = {
  record: field(object, 'The record, as systemd.io/USER_RECORD and systemd.io/GROUP_RECORD describe it.'),
  incomplete: maybe(boolean, 'Whether something was left out that the caller may not know. Never so here.')
}

/** `io.systemd.UserDatabase` (spec/varlink-and-clients.md A17): names for the users and groups of containers. */
export const userDatabaseTable: InterfaceTable<Manager> = {
  name: INTERFACE,
  doc: 'Users and groups of containers that have IDs of this system to themselves.',
  types: [],
  methods: {
    GetUserRecord: method({
      doc: 'Tells of a user, by UID or by name. There is never more than one reply.',
      more: 'supported',
      in: {
        uid: id('The UID, on this system.'),
        userName: name('The name: `vu-MACHINE-UID`, with the UID that the user has in the machine.'),
        ...filters('uid'),
        service
      },
      out: reply,
      access: 'anyone',
      run: (manager: Manager, { uid, userName, service: asked }) => ({
        record: userRecord(find(manager, 'uid', { service: asked, id: uid, name: userName }))
      })
    }),
    GetGroupRecord: method({
      doc: 'Tells of a group, by GID or by name. There is never more than one reply.',
      more: 'supported',
      in: {
        gid: id('The GID, on this system.'),
        groupName: name('The name: `vg-MACHINE-GID`, with the GID that the group has in the machine.'),
        ...filters('gid'),
        service
      },
      out: reply,
      access: 'anyone',
      run: (manager: Manager, { gid, groupName, service: asked }) => ({
        record: groupRecord(find(manager, 'gid', { service: asked, id: gid, name: groupName }))
      })
    }),
    GetMemberships: method({
      doc: 'Tells who is in which group. Nobody is in one here.',
      more: 'supported',
      in: { userName: name('Only groups of this user.'), groupName: name('Only users of this group.'), service },
      out: { userName: field(string, 'A user.'), groupName: field(string, 'A group the user is in.') },
      access: 'anyone',
      run: (_: Manager, { service: asked }) => {
        requireService(asked)
        throw noRecordFound()
      }
    })
  },
  errors: {
    NoRecordFound: { doc: 'There is no such user or group.' },
    BadService: { doc: 'Another service than the one here was asked for.' },
    ServiceNotAvailable: { doc: 'There is no answer for the time being.' },
    ConflictingRecordFound: { doc: 'ID and name belong to different users or groups.' },
    NonMatchingRecordFound: { doc: 'There is a record, but not one that the filters let pass.' },
    EnumerationNotSupported: { doc: 'Only one user or group can be asked for, not all.' }
  }
}

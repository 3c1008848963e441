import type { EventEmitter } from 'node:events'
import dbus from 'dbus-next'
// @ts-expect-error -- dbus-next has no types for the inside of its package
import clientBus from 'dbus-next/lib/bus.js'
import type { BusMessage } from './message.ts'

/*
 * The parts of dbus-next that we use, typed by hand: its own types do not admit a connection of one's own. The package
 * is CommonJS and its bus.js is not in its index. The version is pinned exactly.
 */

/** A value that carries its signature along. */
export type Variant<T = unknown> = dbus.Variant<T>
/** dbus-next's class for such values, which our codec reads and writes too. */
export const Variant = dbus.Variant

/** dbus-next's Message. Building one checks all names in it and throws on a bad one. */
export interface ClientMessage extends Omit<BusMessage, 'fds'> {
  serial: number
}

/** dbus-next's MessageBus. The members with `_` are not public: the next serial, and calls that wait for a reply. */
export interface ClientBus extends EventEmitter {
  name: string | null
  _serial: number
  _methodReturnHandlers: Record<number, unknown>
  _nameOwners: Record<string, unknown>
  newSerial(): number
  call(message: ClientMessage): Promise<BusMessage>
}

/** The error of a call, dbus-next's class: `type` is the D-Bus error name, `text` its message. */
export interface DBusError extends Error {
  type: string
  text: string
}

const classes = dbus as unknown as {
  Message: new (fields: Partial<BusMessage>) => ClientMessage
  DBusError: new (type: string, text: string) => DBusError
}

/** dbus-next's client on any connection: an emitter of `message` that has `message()` to send and `stream`. Says Hello at once. */
export const MessageBus = clientBus as new (adapter: EventEmitter) => ClientBus
/** dbus-next's message class, the only one its MessageBus takes. */
export const Message = classes.Message

/** Makes the exception of an error reply, as Connection.call rejects with. */
export function dbusError(type: string, text: string): DBusError {
  return new classes.DBusError(type, text)
}

/** Whether an exception is the error reply to a call. */
export function isDBusError(error: unknown): error is DBusError {
  return error instanceof classes.DBusError
}

/** The flag of a call that is to start nobody. */
export const NO_AUTO_START = 2
/** What the bus says when nobody has a name. */
export const NO_OWNER_ERRORS: readonly string[] = [
  'org.freedesktop.DBus.Error.ServiceUnknown',
  'org.freedesktop.DBus.Error.NameHasNoOwner'
]

/** The fields of dbus-next's Message that go on the wire. */
export function fieldsOf(message: ClientMessage): Omit<BusMessage, 'fds'> {
  const { type, flags, serial, path, interface: interfaceName, member, destination, signature, body } = message
  return {
    ...{ type, flags, serial, signature, body },
    ...(path !== undefined && { path }),
    ...(interfaceName !== undefined && { interface: interfaceName }),
    ...(member !== undefined && { member }),
    ...(destination !== undefined && { destination })
  }
}

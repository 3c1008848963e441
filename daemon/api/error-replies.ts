import {
  type ErrorCode,
  ExplainedError,
  isSystemError,
  MachinedError,
  strerror,
  systemError,
  type SystemError
} from '../base/errors.ts'
import { constants } from 'node:os'
import { log } from '../base/log.ts'
import { isDBusError } from '../bus/connection.ts'

/** An error as it goes over D-Bus. */
export interface ErrorReply {
  readonly name: string
  readonly text: string
}

/** An error as it goes over Varlink. */
export interface VarlinkReply {
  readonly error: string
  readonly parameters?: Readonly<Record<string, unknown>>
}

const bus = 'org.freedesktop.DBus.Error.'
const machine1 = 'org.freedesktop.machine1.'
const service = 'org.varlink.service.'

/**
 * What each expected failure is on both wires (spec/dbus.md 0.3, spec/varlink-and-clients.md A2): its D-Bus name; the
 * errno that says it on Varlink; and the Varlink error to say it by instead, where the called interface has it, or where
 * it is written out because all interfaces do.
 */
const names: Readonly<Record<ErrorCode, readonly [bus: string, errno: string, varlink?: string]>> = {
  InvalidArgs: [`${bus}InvalidArgs`, 'EINVAL'],
  AccessDenied: [`${bus}AccessDenied`, 'EACCES', `${service}PermissionDenied`],
  NotSupported: [`${bus}NotSupported`, 'EOPNOTSUPP', 'NotSupported'],
  LimitsExceeded: [`${bus}LimitsExceeded`, 'ENOBUFS', 'TooManyOperations'],
  FileNotFound: [`${bus}FileNotFound`, 'ENOENT'],
  FileExists: [`${bus}FileExists`, 'EEXIST'],
  Failed: [`${bus}Failed`, 'EIO'],
  UnixProcessIdUnknown: [`${bus}UnixProcessIdUnknown`, 'ESRCH'],
  InteractiveAuthorizationRequired: [
    `${bus}InteractiveAuthorizationRequired`,
    'EACCES',
    'io.systemd.InteractiveAuthenticationRequired'
  ],
  UnknownMethod: [`${bus}UnknownMethod`, 'EBADR'],
  UnknownInterface: [`${bus}UnknownInterface`, 'EBADR'],
  UnknownObject: [`${bus}UnknownObject`, 'EBADR'],
  UnknownProperty: [`${bus}UnknownProperty`, 'EBADR'],
  PropertyReadOnly: [`${bus}PropertyReadOnly`, 'EROFS'],
  NoSuchMachine: [`${machine1}NoSuchMachine`, 'ENXIO', 'NoSuchMachine'],
  NoSuchImage: [`${machine1}NoSuchImage`, 'ENOENT', 'NoSuchImage'],
  NoMachineForPID: [`${machine1}NoMachineForPID`, 'ENXIO', 'NoSuchMachine'],
  MachineExists: [`${machine1}MachineExists`, 'EEXIST', 'MachineExists'],
  NoPrivateNetworking: [`${machine1}NoPrivateNetworking`, 'ENONET', 'NoPrivateNetworking'],
  NoSuchUserMapping: [`${machine1}NoSuchUserMapping`, 'ENXIO', 'NoSuchUser'],
  NoSuchGroupMapping: [`${machine1}NoSuchGroupMapping`, 'ENXIO', 'NoSuchGroup'],
  JobFailed: ['org.freedesktop.systemd1.JobFailed', 'EIO']
}

/** The D-Bus names of the errnos that have one (spec/dbus.md 0.4). */
const errnoNames: Readonly<Record<string, string>> = {
  ENOMEM: 'NoMemory',
  EPERM: 'AccessDenied',
  EACCES: 'AccessDenied',
  EINVAL: 'InvalidArgs',
  ESRCH: 'UnixProcessIdUnknown',
  ENOENT: 'FileNotFound',
  EEXIST: 'FileExists',
  ETIMEDOUT: 'Timeout',
  ETIME: 'Timeout',
  EIO: 'IOError',
  ENETRESET: 'Disconnected',
  ECONNABORTED: 'Disconnected',
  ECONNRESET: 'Disconnected',
  EOPNOTSUPP: 'NotSupported',
  // The same number as EOPNOTSUPP on Linux, and the name libuv gives it.
  ENOTSUP: 'NotSupported',
  EADDRNOTAVAIL: 'BadAddress',
  ENOBUFS: 'LimitsExceeded',
  EADDRINUSE: 'AddressInUse',
  EBADMSG: 'InconsistentMessage'
}

/** The D-Bus error name of an errno such as `ENOENT`; errnos without one are sent as `System.Error.` and their name. */
export function errnoErrorName(code: string): string {
  const name = Object.hasOwn(errnoNames, code) ? errnoNames[code] : undefined
  if (name !== undefined) return bus + name
  return /^E[A-Z][A-Z0-9]*$/.test(code) ? `System.Error.${code}` : `${bus}Failed`
}

/** The errnos that clients know PID 1's errors by; the standard errors are in `errnoNames`. */
const errnosOfServiceManager: Readonly<Record<string, string>> = {
  NoSuchUnit: 'ENOENT',
  NoSuchProcess: 'ESRCH',
  LoadFailed: 'EIO',
  OnlyByDependency: 'EINVAL',
  TransactionIsDestructive: 'EDEADLK',
  TransactionJobsConflicting: 'EDEADLK',
  ShuttingDown: 'ECANCELED'
}

/** The errno of an error of PID 1 where its name and text are not for the caller; EIO for those that have none. */
export function errnoOfBusError(name: string): SystemError {
  const own = name.startsWith('org.freedesktop.systemd1.')
    ? errnosOfServiceManager[name.slice('org.freedesktop.systemd1.'.length)]
    : undefined
  const standard = Object.entries(errnoNames).find(([, known]) => bus + known === name)?.[0]
  const code = own ?? standard ?? name.replace(/^System\.Error\./, '')
  const numbers: Readonly<Record<string, number>> = constants.errno
  return systemError(numbers[code] ?? constants.errno.EIO, 'systemd')
}

/** Waits for work of PID 1; what it refuses reaches the caller as a bare errno, as clients know it (spec/dbus.md 3.6, 6.6). */
export async function withErrnoOfServiceManager(work: Promise<void>): Promise<void> {
  try {
    await work
  } catch (error) {
    throw isDBusError(error) ? errnoOfBusError(error.type) : error
  }
}

/**
 * Translates whatever a call over D-Bus failed with. Errors of our own, of the system and of other bus services reach the
 * caller; anything else is a bug, of which the log gets the stack and the caller nothing.
 */
export function errorReply(error: unknown): ErrorReply {
  if (error instanceof MachinedError) return { name: names[error.code][0], text: printable(error.message) }
  if (isDBusError(error)) return { name: error.type, text: printable(error.text) }
  if (error instanceof ExplainedError) return { name: errnoErrorName(error.code), text: printable(error.message) }
  if (isSystemError(error)) {
    const code = errnoOf(error)
    return { name: errnoErrorName(code), text: strerror(code) }
  }
  log.error({ err: error }, 'A call failed because of a bug')
  return { name: `${bus}Failed`, text: 'Internal error' }
}

/**
 * Translates whatever a call over Varlink failed with, as `errorReply` does for D-Bus. `declares` says whether the called
 * interface has an error of that name.
 */
export function varlinkReply(error: unknown, interfaceName: string, declares: (name: string) => boolean): VarlinkReply {
  if (error instanceof MachinedError) {
    const [, errno, name] = names[error.code]
    if (name?.includes('.') === true) return { error: name }
    return name !== undefined && declares(name) ? { error: `${interfaceName}.${name}` } : systemReply(errno)
  }
  if (isDBusError(error)) return systemReply(errnoOfBusError(error.type).code)
  if (isSystemError(error)) return systemReply(errnoOf(error))
  log.error({ err: error }, 'A call failed because of a bug')
  return systemReply('EIO')
}

/** Node knows only some of the kernel's errors. */
const numbers: Readonly<Record<string, number>> = {
  EUNATCH: 49,
  EBADR: 53,
  ENONET: 64,
  ENOPKG: 65,
  ENOTUNIQ: 76,
  EUCLEAN: 117,
  ENOMEDIUM: 123,
  EMEDIUMTYPE: 124,
  ENOKEY: 126,
  ...constants.errno
}

/** An error of the kernel's as Varlink has it (spec/varlink-and-clients.md A2). */
export function systemReply(errnoName: string): VarlinkReply {
  const errno = numbers[errnoName] ?? Number(/^E(\d+)$/.exec(errnoName)?.[1] ?? constants.errno.EIO)
  return { error: 'io.systemd.System', parameters: { origin: 'linux', errno, errnoName } }
}

/** libuv has another name for the same number. */
function errnoOf({ code }: { readonly code: string }): string {
  return code === 'ENOTSUP' ? 'EOPNOTSUPP' : code
}

/** Texts quote callers and what runs in containers; clients show them on terminals. */
function printable(text: string): string {
  const unprintable = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g
  return text.replace(unprintable, (character) => Buffer.from(character).toString('hex').replace(/../g, '\\x$&'))
}

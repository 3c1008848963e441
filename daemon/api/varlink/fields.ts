import { constants } from 'node:os'
import { isValidImageName } from '../../image/image.ts'
import { isValidMachineName } from '../../machine/machine-name.ts'
import type { Json } from './json.ts'
import {
  array,
  BadValue,
  boolean,
  integer,
  maybe,
  field,
  optional,
  type Parameter,
  string,
  structure
} from './schema.ts'

/*
 * The kinds of parameters that come again and again (spec/varlink-and-clients.md A2): how each is read.
 */

const PATH_MAX = 4096
const NAME_MAX = 255
const SIGNAL_MAX = 64
const SIGRTMIN = 34

/** Gives a value that was found good. Throws BadValue for any other. */
function required<T>(value: T | undefined): T {
  if (value === undefined) throw new BadValue()
  return value
}

/** Reads an integer from 0 to `most`, which may come as a decimal string. Throws BadValue. */
export function readUnsigned(value: Json, most: bigint): bigint {
  const isInteger = typeof value === 'bigint' || Number.isSafeInteger(value)
  const isDigits = typeof value === 'string' && /^\d{1,20}$/.test(value)
  const wide = isInteger || isDigits ? BigInt(value as number | bigint | string) : -1n
  return required(wide >= 0n && wide <= most ? wide : undefined)
}

/** Reads an integer from `least` to `most` that is no string. Throws BadValue. */
export function readNumber(value: Json, least: number, most: number): number {
  return required(typeof value === 'number' && value >= least && value <= most ? value : undefined)
}

export const readString = (value: Json): string => value as string
export const readStrings = (value: Json): string[] => [...(value as string[])]
export const readBoolean = (value: Json): boolean => value as boolean

/** Reads an absolute path without anything that leads back or says nothing. Throws BadValue. */
export function readPath(value: Json): string {
  const path = readAbsolutePath(value)
  return required(/\/\/|\/\.\.?(?:\/|$)/.test(path) ? undefined : path)
}

/** Reads an absolute path. Throws BadValue. */
export function readAbsolutePath(value: Json): string {
  const path = readString(value)
  const isGood = path.startsWith('/') && !path.includes('\0') && Buffer.byteLength(path) < PATH_MAX
  return required(isGood && path.split('/').every((part) => Buffer.byteLength(part) <= NAME_MAX) ? path : undefined)
}

/** Reads text without control characters. Throws BadValue. */
export function readPrintable(value: Json): string {
  const text = readString(value)

  return required(/[\x00-\x1f\x7f]/.test(text) ? undefined : text)
}

/** Reads 128 bits, as 32 hexadecimal digits or with the dashes of a UUID. Throws BadValue. */
export function readId(value: Json): Buffer {
  const text = readString(value)
  const isId = /^[0-9a-f]{32}$|^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)
  return required(isId ? Buffer.from(text.replaceAll('-', ''), 'hex') : undefined)
}

/** Reads the name of a machine that can be registered. Throws BadValue. */
export function readMachineName(value: Json): string {
  return required(isValidMachineName(value as string) ? (value as string) : undefined)
}

/** Reads the name of an image, of the host as well. Throws BadValue. */
export function readImageName(value: Json): string {
  return required(isValidImageName(value as string) ? (value as string) : undefined)
}

/** Reads a signal by number, by number in decimal, or by its name with or without SIG. Throws BadValue. */
export function readSignal(value: Json): number {
  const number =
    typeof value === 'string' && !/^\d/.test(value) ? signalOfName(value) : Number(readUnsigned(value, 64n))
  return required(number !== undefined && number >= 1 && number <= SIGNAL_MAX ? number : undefined)
}

function signalOfName(name: string): number | undefined {
  const bare = name.replace(/^SIG/, '')
  const realTime = /^RT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(bare)
  if (realTime === null) return constants.signals[`SIG${bare}` as NodeJS.Signals]
  const [, end, sign = '', distance = '0'] = realTime
  if (sign !== '' && sign !== (end === 'MIN' ? '+' : '-')) return undefined
  const number = (end === 'MIN' ? SIGRTMIN : SIGNAL_MAX) + Number(sign + distance)
  return number >= SIGRTMIN && number <= SIGNAL_MAX ? number : undefined
}

export const processIdType = structure(
  'ProcessId',
  'A process, told apart from any other that has the same PID later.',
  {
    pid: field(integer, 'Its PID.'),
    pidfdId: maybe(integer, "The inode number of the process's pidfd, which no other process of this boot has."),
    bootId: maybe(string, 'The boot that the inode number belongs to, in hexadecimal.')
  }
)

/** A process as a caller names it. */
export interface ProcessId {
  readonly pid: number
  readonly pidfdId: bigint | undefined
  readonly bootId: string | undefined
}

const PID_MAX = 0x7fffffffn
const WIDEST = 0xffffffffffffffffn

/** Reads a number of bytes. Throws BadValue. */
export function readSize(value: Json): bigint {
  return readUnsigned(value, WIDEST)
}

/** Reads a PID, which may be 0 and may come as a decimal string. Throws BadValue. */
export function readPid(value: Json): number {
  return Number(readUnsigned(value, PID_MAX))
}

/** Reads a ProcessId. Throws BadValue. */
export function readProcessId(value: Json): ProcessId {
  const { pid = null, pidfdId = null, bootId = null } = value as Readonly<Record<string, Json>>
  return {
    pid: readPid(pid),
    pidfdId: pidfdId === null ? undefined : readUnsigned(pidfdId, WIDEST),
    bootId: bootId === null ? undefined : readId(bootId).toString('hex')
  }
}

/** Reads the indices of network interfaces. Throws BadValue. */
export function readInterfaces(value: Json): number[] {
  return (value as Json[]).map((index) => readNumber(index, 1, Number(PID_MAX)))
}

export const integers = array(integer)
export const strings = array(string)

/** Whether the user may be asked for a password; the dispatcher looks at it. */
export const interactiveAuthentication: Parameter<boolean | undefined> = optional(
  boolean,
  'Whether polkit may ask the user behind the call for a password. False if left out.',
  readBoolean
)

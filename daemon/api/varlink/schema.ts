import type { AccessOn } from '../access.ts'
import type { ActionName } from '../polkit-actions.ts'
import type { Grant } from '../access.ts'
import type { Call } from './call.ts'
import { isObject } from './framing.ts'
import type { Json } from './json.ts'

/** A type of the interface definition language: how it is spelt there, and which JSON values are of it. */
export interface Type {
  readonly idl: string
  readonly accepts: (value: Json) => boolean
}

/** A type with a name of its own in an interface. */
export interface NamedType extends Type {
  readonly doc: string
  /** Of a structure its fields, of an enumeration its values with what they mean. */
  readonly members: Fields | Readonly<Record<string, string>>
}

/** One field of a structure, of parameters or of a reply. */
export interface Field {
  readonly type: Type
  /** Whether it may be left out, or be null. */
  readonly optional: boolean
  readonly doc: string
}

/** Fields by name, in the order of the interface's description. */
export type Fields = Readonly<Record<string, Field>>

/** A parameter: a field with how its value is read. `read` throws BadValue, and gets undefined for what was left out. */
export interface Parameter<T = unknown> extends Field {
  readonly read: (value: Json | undefined) => T
}

/** Parameters by name, in the order in which they are looked at. */
export type Parameters = Readonly<Record<string, Parameter>>

/** What the parameters of a call were read as. */
export type ValuesOf<P extends Parameters> = { readonly [K in keyof P]: P[K] extends Parameter<infer T> ? T : never }

/** Parameters that were read, where the method is not known. */
export type Values = Readonly<Record<string, unknown>>

/** A value that is of the right type and still will not do. */
export class BadValue extends Error {}

export type Output = Readonly<Record<string, unknown>>

/** Replies that go on until nobody wants them: `start` gets what sends one, and gives what stops it. */
export class Subscription {
  readonly start: (emit: (output: Output) => void) => () => void

  constructor(start: (emit: (output: Output) => void) => () => void) {
    this.start = start
  }
}

/** What a method came to: one reply, or several that are all there. */
export type Result = Output | readonly Output[] | Subscription

/** One method: all that dispatching, the description and the tests need to know about it. */
export interface MethodRow<T> {
  readonly doc: string
  /** Whether calls with `more` get several replies, and whether others are refused (ExpectedMore). */
  readonly more?: 'supported' | 'required'
  readonly in: Parameters
  readonly out: Fields
  readonly access: 'anyone' | AccessOn<Call, T, Values>
  readonly run: (target: T, values: Values, call: Call, grant: Grant) => Result | Promise<Result>
}

/** A method row whose values have the types that its parameters say. */
export interface TypedMethodRow<T, P extends Parameters, N extends ActionName> {
  readonly doc: string
  readonly more?: 'supported' | 'required'
  readonly in: P
  readonly out: Fields
  readonly access: 'anyone' | AccessOn<Call, T, ValuesOf<P>, N>
  readonly run: (target: T, values: ValuesOf<P>, call: Call, grant: Grant) => Result | Promise<Result>
}

/** Checks the types of one row, then forgets them: the dispatcher reads the parameters before it calls. */
export function method<T, const P extends Parameters, const N extends ActionName>(
  row: TypedMethodRow<T, P, N>
): MethodRow<T> {
  return row as unknown as MethodRow<T>
}

/** One error of an interface. */
export interface ErrorRow {
  readonly doc: string
  readonly fields?: Fields
}

/** One interface. */
export interface InterfaceTable<T> {
  readonly name: string
  readonly doc: string
  readonly types: readonly NamedType[]
  readonly methods: Readonly<Record<string, MethodRow<T>>>
  readonly errors: Readonly<Record<string, ErrorRow>>
  /** Errors that are sent all the same, but not in the description. */
  readonly undeclared?: readonly string[]
}

const plain = (idl: string, accepts: Type['accepts']): Type => ({ idl, accepts })

export const boolean = plain('bool', (value) => typeof value === 'boolean')
/** Integers too wide for some JSON readers come as decimal strings, so strings pass here (spec/varlink-and-clients.md A2). */
export const integer = plain('int', (value) => Number.isInteger(value) || ['bigint', 'string'].includes(typeof value))
export const string = plain('string', (value) => typeof value === 'string')
export const object = plain('object', isObject)

export function array(of: Type): Type {
  return plain(`[]${of.idl}`, (value) => Array.isArray(value) && value.every((item: Json) => of.accepts(item)))
}

export function structure(idl: string, doc: string, members: Fields): NamedType {
  return { idl, doc, members, accepts: (value) => isObject(value) && badField(members, value) === undefined }
}

export function enumeration(idl: string, doc: string, members: Readonly<Record<string, string>>): NamedType {
  return { idl, doc, members, accepts: (value) => typeof value === 'string' && Object.hasOwn(members, value) }
}

/** The first field of an object that is missing, of another type, or not among those there are. */
export function badField(fields: Fields, given: Readonly<Record<string, Json>>): string | undefined {
  for (const [name, { type, optional }] of Object.entries(fields)) {
    const value = Object.hasOwn(given, name) ? given[name] : undefined
    const isGood = value === undefined || value === null ? optional : type.accepts(value)
    if (!isGood) return name
  }
  return Object.keys(given).find((name) => !Object.hasOwn(fields, name))
}

/** A field that is always there. */
export function field(type: Type, doc: string): Field {
  return { type, optional: false, doc }
}

/** A field that may be missing. */
export function maybe(type: Type, doc: string): Field {
  return { type, optional: true, doc }
}

/** A parameter that has to be given. */
export function needed<T>(type: Type, doc: string, read: (value: Json) => T): Parameter<T> {
  return { type, optional: false, doc, read: (value) => read(value ?? null) }
}

/** A parameter that may be left out or null, which is the same. */
export function optional<T>(type: Type, doc: string, read: (value: Json) => T): Parameter<T | undefined> {
  return {
    type,
    optional: true,
    doc,
    read: (value) => (value === undefined || value === null ? undefined : read(value))
  }
}

import type { Variant } from '../../bus/client-bus.ts'
import type { EncodedStruct } from '../../bus/codec.ts'
import type { BusMessage } from '../../bus/message.ts'
import type { PidRef } from '../../linux/process.ts'
import type { AccessOn, Caller as AnyCaller, Grant } from '../access.ts'
import type { ActionName } from '../polkit-actions.ts'

export type { AccessRule, Grant } from '../access.ts'

/** The bus signatures in use, each with its value in TypeScript; the list is finite so that types need no parser. */
export interface Values {
  s: string
  o: string
  u: number
  i: number
  h: number
  b: boolean
  t: bigint
  ay: Buffer
  ai: number[]
  as: string[]
  'a{ss}': Record<string, string>
  'a(sv)': [string, Variant][]
  'a(ssso)': EncodedStruct[]
  'a(ssbttto)': EncodedStruct[]
  'a(ssu)': [string, string, number][]
  'a(ssssttbs)': [string, string, string, string, bigint, bigint, boolean, string][]
  'a(iay)': [number, Buffer][]
  'a(st)': [string, bigint][]
  'a(ssb)': [string, string, boolean][]
}

/** One complete type of the D-Bus wire, out of those this daemon uses. */
export type Signature = keyof Values

/** Names and signatures of arguments or results, in the order of the wire. */
export type Shape = Readonly<Record<string, Signature>>

/** The values of a shape, by name. */
export type ArgsOf<S extends Shape> = { readonly [K in keyof S]: Values[S[K]] }

/** The arguments of some method, by name, where the method is not known. */
export type Args = Readonly<Record<string, unknown>>

/** Who sent a call. */
export interface Caller extends AnyCaller {
  /** The sender's unique bus name. */
  readonly name: string
  /** The call itself. */
  readonly message: BusMessage
  /** The sender's effective UID as the message broker knows it. */
  uid(): Promise<number>
  pin(): Promise<PidRef>
}

/** Who may call a method that is not for anyone. */
export type Access<T, A = Args, N extends ActionName = ActionName> = AccessOn<Caller, T, A, N>

/** One method: all that the dispatcher, introspection and the tests need to know about it. */
export interface MethodRow<T> {
  readonly in: Shape
  readonly out: Shape
  readonly access: 'anyone' | Access<T>
  /** Does the work; returns the results in the order of `out`. File descriptors among them change hands. */
  readonly run: (
    target: T,
    args: Args,
    caller: Caller,
    grant: Grant
  ) => readonly unknown[] | Promise<readonly unknown[]>
}

/** A method row whose arguments and results have the types its shapes say. */
export interface TypedMethodRow<T, In extends Shape, Out extends Shape, N extends ActionName> {
  readonly in: In
  readonly out: Out
  readonly access: 'anyone' | Access<T, ArgsOf<In>, N>
  readonly run: (
    target: T,
    args: ArgsOf<In>,
    caller: Caller,
    grant: Grant
  ) => readonly Values[Out[keyof Out]][] | Promise<readonly Values[Out[keyof Out]][]>
}

/** Checks the types of one row, then forgets them: the dispatcher has compared the signature before it calls. */
export function method<T, const In extends Shape, const Out extends Shape, const N extends ActionName>(
  row: TypedMethodRow<T, In, Out, N>
): MethodRow<T> {
  return row as unknown as MethodRow<T>
}

/** One property. */
export interface PropertyRow<T> {
  readonly type: Signature
  /** The EmitsChangedSignal annotation; no property here emits changes. */
  readonly emits: 'const' | 'false'
  /** Answers Get, but is in neither GetAll nor introspection. */
  readonly hidden?: true
  /** May give a promise, as for what a file system has to be asked for. */
  readonly get: (target: T) => unknown
  /** Makes the property writable, for root alone. Throws if the value will not do. */
  readonly write?: (target: T, value: unknown) => void
}

/** One signal. */
export interface SignalRow {
  readonly args: Shape
}

/** One interface of one kind of object. */
export interface InterfaceTable<T> {
  readonly name: string
  readonly methods: Readonly<Record<string, MethodRow<T>>>
  readonly properties: Readonly<Record<string, PropertyRow<T>>>
  readonly signals: Readonly<Record<string, SignalRow>>
  /** Introspection leaves the names of arguments out. */
  readonly namelessArgs?: true
}

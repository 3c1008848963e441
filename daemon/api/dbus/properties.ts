import { dbusError, Variant } from '../../bus/client-bus.ts'
import { MachinedError } from '../../base/errors.ts'
import type { BusMessage } from '../../bus/message.ts'
import { isPrivileged } from '../authorize.ts'
import { type MaybePromise, whenReady } from '../when-ready.ts'
import { emptyAnswer, type Answer } from './answer.ts'
import type { BoundInterface } from './binding.ts'
import { peerInterface } from './peer.ts'
import type { Caller, PropertyRow } from './table.ts'

export const propertiesInterface = 'org.freedesktop.DBus.Properties'

/** Interfaces that have no properties, but exist on every object. */
const standardInterfaces: ReadonlySet<unknown> = new Set([
  peerInterface,
  'org.freedesktop.DBus.Introspectable',
  propertiesInterface
])

function find(
  object: readonly BoundInterface[],
  interfaceName: string,
  property: string
): { row: PropertyRow<unknown>; target: unknown } {
  for (const { table, target } of object) {
    if (table.name !== interfaceName || !Object.hasOwn(table.properties, property)) continue
    const row = table.properties[property]
    if (row) return { row, target }
  }
  throw new MachinedError('UnknownProperty', `Unknown interface ${interfaceName} or property ${property}.`)
}

/** Properties.Get. Throws `UnknownProperty`. */
export function getProperty(object: readonly BoundInterface[], interfaceName: string, property: string): Variant {
  const { row, target } = find(object, interfaceName, property)
  return new Variant(row.type, row.get(target))
}

/** Properties.GetAll; the empty interface name stands for all interfaces. Throws `UnknownInterface`. */
export function getAllProperties(object: readonly BoundInterface[], interfaceName: string): [string, Variant][] {
  const values: [string, Variant][] = []
  let known = interfaceName === '' || standardInterfaces.has(interfaceName)
  for (const { name, visible, target } of object) {
    if (interfaceName !== '' && name !== interfaceName) continue
    known = true
    for (const [property, row] of visible) values.push([property, new Variant(row.type, row.get(target))])
  }
  if (!known) throw new MachinedError('UnknownInterface', `Unknown interface '${interfaceName}'.`)
  return values
}

/**
 * Properties.Set, for the privileged alone; `value` is a type code if the call had something else than a variant. Throws
 * `UnknownProperty`, `PropertyReadOnly`, `InvalidSignature`, `InvalidArgs`, `AccessDenied`.
 */
export async function setProperty(
  object: readonly BoundInterface[],
  interfaceName: string,
  property: string,
  value: Variant | string,
  caller: Caller
): Promise<void> {
  const { row, target } = find(object, interfaceName, property)
  if (!row.write) throw new MachinedError('PropertyReadOnly', `Property '${property}' is not writable.`)
  if (typeof value === 'string') {
    const text = `Incorrect signature when setting property '${property}', expected 'v', got '${value}'.`
    throw dbusError('org.freedesktop.DBus.Error.InvalidSignature', text)
  }
  if (value.signature !== row.type) {
    throw new MachinedError(
      'InvalidArgs',
      `Incorrect parameters for property '${property}', expected '${row.type}', got '${value.signature}'.`
    )
  }
  if (!isPrivileged(await caller.uid())) {
    throw new MachinedError('AccessDenied', `Access to ${interfaceName}.${property}() not permitted.`)
  }
  row.write(target, value.value)
}

/** Answers a call of the Properties interface; undefined if that has no such method. Throws as the functions above. */
export function answerProperties(
  message: BusMessage,
  caller: Caller,
  object: readonly BoundInterface[]
): MaybePromise<Answer> | undefined {
  switch (message.member) {
    case 'Get': {
      expect(message, 'ss', 'Expected interface and member parameters')
      const [name, property] = message.body as [string, string]
      const value = getProperty(object, name, property)
      return whenReady(whenRead([value]), () => ({ signature: 'v', body: [value] }))
    }
    case 'GetAll': {
      expect(message, 's', 'Expected interface parameter')
      const [name] = message.body as [string]
      const values = getAllProperties(object, name)
      const read = whenRead(values.map(([, value]) => value))
      return whenReady(read, () => ({ signature: 'a{sv}', body: [values] }))
    }
    case 'Set': {
      expect(message, 'ss', 'Expected interface and member parameters')
      const [name, property, value] = message.body as [string, string, Variant]
      const kind = message.signature[2] ?? ''
      return setProperty(object, name, property, kind === 'v' ? value : kind, caller).then(() => emptyAnswer)
    }
    default:
      return undefined
  }
}

/** Waits for those values that have to be waited for. */
function whenRead(variants: readonly Variant[]): MaybePromise<unknown> {
  const late = variants.filter(({ value }) => value instanceof Promise)
  return late.length === 0 ? undefined : Promise.all(late.map(async (variant) => (variant.value = await variant.value)))
}

/** Like sd-bus, lets further arguments pass. */
function expect(message: BusMessage, signature: string, text: string): void {
  if (!message.signature.startsWith(signature)) throw new MachinedError('InvalidArgs', text)
}

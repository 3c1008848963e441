import { interfaceXml } from './introspection.ts'
import type { InterfaceTable, MethodRow, PropertyRow } from './table.ts'

/** A method row with what dispatching needs of it, worked out once. */
export interface BoundMethod {
  readonly row: MethodRow<unknown>
  /** Names of the arguments in the order of the wire. */
  readonly names: readonly string[]
  readonly inSignature: string
  readonly outSignature: string
}

/** An interface table made ready for dispatching. */
export interface PreparedTable {
  readonly name: string
  readonly xml: string
  readonly methods: ReadonlyMap<string, BoundMethod>
  /** The properties that GetAll tells. */
  readonly visible: readonly (readonly [name: string, row: PropertyRow<unknown>])[]
  readonly table: InterfaceTable<unknown>
}

/** One interface of one object that was found. */
export interface BoundInterface extends PreparedTable {
  readonly target: unknown
}

/** Puts a table and its target together; spelt out, for a spread takes longer than the rest of a look-up. */
export function bind({ name, xml, methods, visible, table }: PreparedTable, target: unknown): BoundInterface {
  return { name, xml, methods, visible, table, target }
}

/** Works out signatures and XML of a table. The target type is forgotten here: table and target are kept as a pair. */
export function prepare<T>(typed: InterfaceTable<T>): PreparedTable {
  const table = typed as unknown as InterfaceTable<unknown>
  const methods = new Map<string, BoundMethod>()
  for (const [name, row] of Object.entries(table.methods)) {
    methods.set(name, {
      row,
      names: Object.keys(row.in),
      inSignature: Object.values(row.in).join(''),
      outSignature: Object.values(row.out).join('')
    })
  }
  const visible = Object.entries(table.properties).filter(([, row]) => !row.hidden)
  return { name: table.name, xml: interfaceXml(table), methods, visible, table }
}

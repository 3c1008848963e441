import type { Fields, InterfaceTable, MethodRow, NamedType } from './schema.ts'

const MORE = { supported: '[Supports more flag]', required: '[Requires more flag]' } as const

/** The description of an interface in Varlink's interface definition language (varlink.org/Interface-Definition). */
export function interfaceText<T>(table: InterfaceTable<T>): string {
  const parts = [
    ...table.types.map((type) => comment(type.doc) + `type ${type.idl}${typeBody(type)}`),
    ...Object.entries(table.methods).map(([name, row]) => methodText(name, row)),
    ...Object.entries(table.errors).map(
      ([name, { doc, fields }]) => comment(doc) + `error ${name}${fieldList(fields ?? {})}`
    )
  ]
  return `${comment(table.doc)}interface ${table.name}\n\n${parts.join('\n\n')}\n`
}

function methodText<T>(name: string, row: MethodRow<T>): string {
  const doc = row.more === undefined ? row.doc : `${row.doc}\n${MORE[row.more]}`
  return `${comment(doc)}method ${name}${fieldList(row.in)} -> ${fieldList(row.out)}`
}

function typeBody({ members }: NamedType): string {
  const isEnumeration = Object.values(members as Readonly<Record<string, unknown>>).every(
    (doc) => typeof doc === 'string'
  )
  return isEnumeration
    ? list(Object.entries(members as Readonly<Record<string, string>>))
    : fieldList(members as Fields)
}

function fieldList(fields: Fields): string {
  return list(
    Object.entries(fields).map(([name, { type, optional, doc }]) => [`${name}: ${optional ? '?' : ''}${type.idl}`, doc])
  )
}

function list(items: readonly (readonly [text: string, doc: string])[]): string {
  if (items.length === 0) return '()'
  return `(\n${items.map(([text, doc]) => `${comment(doc, '\t')}\t${text}`).join(',\n')}\n)`
}

function comment(doc: string, indent = ''): string {
  if (doc === '') return ''
  return doc
    .split('\n')
    .map((line) => `${indent}# ${line}\n`)
    .join('')
}

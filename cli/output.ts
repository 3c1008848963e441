import { showPaged } from './pager.ts'
import type { Options } from './options.ts'

/** What a field can hold; undefined where there is nothing, which JSON leaves out. */
type Value = string | number | boolean | readonly string[] | undefined
type Row<K extends string> = Readonly<Record<K, Value>>
/** What each field is called where people read it. */
type Titles<K extends string> = Readonly<Record<K, string>>

/** Standard output in the form that the options ask for: text in the style of machinectl(1), or JSON. */
export class Output {
  readonly #options: Pick<Options, 'json' | 'legend' | 'pager'>
  readonly #show: typeof showPaged

  constructor(options: Pick<Options, 'json' | 'legend' | 'pager'>, show = showPaged) {
    this.#options = options
    this.#show = show
  }

  /** One thing: a line `Title: value` for each of its fields. */
  fields<K extends string>(row: Row<K>, titles: Titles<K>): void {
    const text = keysOf(titles).map((key) => `${titles[key]}: ${show(row[key])}\n`)
    this.#show(this.#json(row) ?? text.join(''), false)
  }

  /** A list, under its titles and with the number of `what` below. */
  table<K extends string>(rows: readonly Row<K>[], titles: Titles<K>, what: string): void {
    this.#show(this.#json(rows) ?? this.#list(rows, titles, what), this.#options.pager)
  }

  /** Text as it is, which has no other form. */
  text(text: string): void {
    this.#show(text, this.#options.pager)
  }

  #list<K extends string>(rows: readonly Row<K>[], titles: Titles<K>, what: string): string {
    const { legend } = this.#options
    if (rows.length === 0) return legend ? `No ${what}.\n` : ''
    const cells = rows.map((row) => keysOf(titles).map((key) => show(row[key])))
    const lines = align(legend ? [Object.values<string>(titles), ...cells] : cells)
    if (legend) lines.push('', `${String(rows.length)} ${what} listed.`)
    return lines.map((line) => `${line}\n`).join('')
  }

  #json(value: unknown): string | undefined {
    const { json } = this.#options
    if (json === 'off') return undefined
    return `${JSON.stringify(value, undefined, json === 'pretty' ? '\t' : undefined)}\n`
  }
}

function keysOf<K extends string>(titles: Titles<K>): K[] {
  return Object.keys(titles) as K[]
}

function show(value: Value): string {
  if (value === undefined || value === '') return '-'
  if (typeof value === 'object') return value.length === 0 ? '-' : value.join(' ')
  return typeof value === 'boolean' ? (value ? 'yes' : 'no') : String(value)
}

/** Columns as wide as what is in them, one blank apart. */
function align(lines: readonly (readonly string[])[]): string[] {
  const widths = (lines[0] ?? []).map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)))
  return lines.map((line) =>
    line
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join(' ')
      .trimEnd()
  )
}

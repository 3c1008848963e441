/** A JSON value; integers too wide for a number are bigint. */
export type Json = null | boolean | number | bigint | string | readonly Json[] | { readonly [key: string]: Json }

/** What a message has as its outermost value. */
export type JsonObject = Readonly<Record<string, Json>>

/** Nothing on these wires is nested deeper than 6. */
const MOST_LEVELS = 128
/** A message of 16 MiB can hold millions of empty arrays, each of which takes many times its text in memory. */
const MOST_VALUES = 100_000
/** Up to so many digits a number is exact. */
const EXACT_DIGITS = 15

/** Parses JSON text, keeping integers exact. Throws SyntaxError for anything else, and for what is too deep or too much. */
export function parseJson(text: string): Json {
  return isPlain(text) ? (JSON.parse(text) as Json) : new Parser(text).parse()
}

/** Writes JSON text; a bigint is written as the integer it is. */
export function formatJson(value: unknown): string {
  try {
    return JSON.stringify(value)
  } catch (error) {
    // What JSON.stringify says to a bigint, which hardly ever is there.
    if (error instanceof TypeError) return formatExactly(value)
    throw error
  }
}

/** An integer as a number where that is exact, so that the engine's own writer does. */
export function wide(value: bigint): number | bigint {
  return value <= Number.MAX_SAFE_INTEGER && value >= Number.MIN_SAFE_INTEGER ? Number(value) : value
}

function formatExactly(value: unknown): string {
  if (typeof value === 'bigint') return String(value)
  if (Array.isArray(value)) return `[${value.map(formatExactly).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value ?? null)
  const entries = Object.entries(value).filter(([, member]) => member !== undefined)
  return `{${entries.map(([key, member]) => `${JSON.stringify(key)}:${formatExactly(member)}`).join(',')}}`
}

/** Whether the engine's own parser does: no number may be too wide for it, and nothing deep or plentiful in there. */
function isPlain(text: string): boolean {
  let values = 0
  let digits = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code >= 0x30 && code <= 0x39) {
      if (++digits > EXACT_DIGITS) return false
      continue
    }
    digits = 0
    // Brackets and commas; those in strings are counted too, which does no harm.
    if ((code === 0x5b || code === 0x7b || code === 0x2c) && ++values > MOST_LEVELS) return false
  }
  return true
}

const space = /[ \t\r\n]*/y
const number = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y
const string = /"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y
const words: Readonly<Record<string, null | boolean>> = { null: null, true: true, false: false }
const word = /null|true|false/y

/** A parser for what the engine's own would not keep exact, or should not be given. */
class Parser {
  readonly #text: string
  #at = 0
  #values = 0

  constructor(text: string) {
    this.#text = text
  }

  parse(): Json {
    const value = this.#value(0)
    if (this.#at !== this.#text.length) throw this.#error()
    return value
  }

  #value(level: number): Json {
    if (level > MOST_LEVELS || ++this.#values > MOST_VALUES) throw new SyntaxError('JSON text is too deep or too big')
    this.#take(space)
    const value = this.#bareValue(level)
    this.#take(space)
    return value
  }

  #bareValue(level: number): Json {
    switch (this.#text[this.#at]) {
      case '{':
        return this.#object(level)
      case '[':
        return this.#array(level)
      case '"':
        return this.#string()
      default: {
        const found = this.#take(word)
        return found === undefined ? this.#number() : (words[found] ?? null)
      }
    }
  }

  #object(level: number): Json {
    const members: [string, Json][] = []
    for (let next = this.#open('}'); next; next = this.#goOn('}')) {
      this.#take(space)
      const key = this.#string()
      this.#take(space)
      if (!this.#skip(':')) throw this.#error()
      members.push([key, this.#value(level + 1)])
    }
    return Object.fromEntries(members)
  }

  #array(level: number): Json {
    const items: Json[] = []
    for (let next = this.#open(']'); next; next = this.#goOn(']')) items.push(this.#value(level + 1))
    return items
  }

  /** Steps over an opening bracket; false if the closing one follows. */
  #open(close: string): boolean {
    this.#at++
    this.#take(space)
    return !this.#skip(close)
  }

  /** Steps over what follows an item; false if that is the closing bracket. */
  #goOn(close: string): boolean {
    if (this.#skip(close)) return false
    if (!this.#skip(',')) throw this.#error()
    return true
  }

  #string(): string {
    const found = this.#take(string)
    if (found === undefined) throw this.#error()
    return JSON.parse(found) as string
  }

  #number(): number | bigint {
    number.lastIndex = this.#at
    const found = number.exec(this.#text)
    if (found === null) throw this.#error()
    this.#at = number.lastIndex
    const value = Number(found[0])
    const isExact = found[1] !== undefined || found[2] !== undefined || Number.isSafeInteger(value)
    return isExact ? value : BigInt(found[0])
  }

  #take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)?.[0]
    this.#at += found?.length ?? 0
    return found
  }

  #skip(character: string): boolean {
    if (this.#text[this.#at] !== character) return false
    this.#at++
    return true
  }

  #error(): SyntaxError {
    return new SyntaxError(`Unexpected text in JSON at position ${String(this.#at)}`)
  }
}

const SPECIAL = /[\x00-\x20\x7f"\\`$*?['()<>|&;!]/
const C_ESCAPES: Readonly<Record<string, string>> = { a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' }

/**
 * Parses a file of `KEY=value` lines as a shell would, without expansions: comments (`#`, `;`), single and double
 * quotes, backslashes, continued lines. Later lines win; lines that are no assignment are skipped. Outside quotes
 * the escapes of C are understood as well: state files of systemd 252 have them (spec/dbus.md 14), and no newer one
 * has any backslash there. `cEscapes: false` turns that off, for files of other origin. `anyKey: true` takes every name for
 * one, as systemd does. See os-release(5).
 */
export function parse(
  text: string,
  { cEscapes = true, anyKey = false }: { cEscapes?: boolean; anyKey?: boolean } = {}
): Map<string, string> {
  // One character per byte, since octal escapes spell bytes of UTF-8.
  const input = Buffer.from(text, 'utf8').toString('latin1')
  const result = new Map<string, string>()
  let at = 0
  while (at < input.length) {
    const key = anyKey ? /[ \t\r]*([^ \t\r\n#;][^=\r\n]*)=[ \t]*/y : /[ \t\r]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*/y
    key.lastIndex = at
    const match = key.exec(input)
    if (match === null) {
      const end = input.indexOf('\n', at)
      at = end < 0 ? input.length : end + 1
      continue
    }
    const [value, end] = parseValue(input, key.lastIndex, cEscapes)
    const name = match[1]?.trimEnd() ?? ''
    result.set(decode(name), decode(value))
    at = end
  }
  return result
}

function decode(bytes: string): string {
  return /^[\x00-\x7f]*$/.test(bytes) ? bytes : Buffer.from(bytes, 'latin1').toString('utf8')
}

/** A value as it stands behind `KEY=`, quoted only where needed (spec/dbus.md 2.3). */
export function formatValue(value: string): string {
  return SPECIAL.test(value) ? `"${value.replace(/["\\`$]/g, '\\$&')}"` : value
}

/** What stands for itself, by the quote it is in. */
const PLAIN: Readonly<Record<string, RegExp>> = { "'": /[^']*/y, '"': /[^"\\]*/y, '': /[^\n\\"' \t\r]*/y }

/** Returns the value and where the next line starts. */
function parseValue(input: string, start: number, cEscapes: boolean): [string, number] {
  let value = ''
  // Trailing blanks are dropped, but not those that were quoted or escaped.
  let keep = 0
  let quote = ''
  let at = start
  for (; at < input.length; at++) {
    const plain = plainAt(input, at, quote)
    value += plain
    if (quote !== '' || plain !== '') keep = value.length
    at += plain.length
    const char = input.charAt(at)
    if (char === quote) quote = ''
    else if (quote === '"') {
      // A backslash.
      const next = input.charAt(++at)
      if ('"\\`$'.includes(next)) value += next
      else if (next !== '\n') value += `\\${next}`
    } else if (char === '\n') {
      break
    } else if (char === '\\') {
      const [text, length] = unescape(input, at + 1, cEscapes)
      value += text
      at += length
      keep = value.length
    } else if (char === '"' || char === "'") {
      quote = char
    } else {
      value += char
    }
  }
  return [quote === '' ? value.slice(0, keep) : value, at + 1]
}

function plainAt(input: string, at: number, quote: string): string {
  const plain = PLAIN[quote]
  if (plain === undefined) return ''
  plain.lastIndex = at
  return plain.exec(input)?.[0] ?? ''
}

/** What a backslash outside quotes, standing before `at`, makes of the following, and how many characters it takes. */
function unescape(input: string, at: number, cEscapes: boolean): [string, number] {
  const next = input.charAt(at)
  if (next === '\n') return ['', 1]
  if (cEscapes) {
    const simple = C_ESCAPES[next]
    if (simple !== undefined) return [simple, 1]
    const octal = /^[0-3][0-7]{2}/.exec(input.slice(at, at + 3))
    if (octal !== null) return [String.fromCharCode(parseInt(octal[0], 8)), 3]
    const hex = /^x([0-9a-fA-F]{2})/.exec(input.slice(at, at + 3))
    if (hex !== null) return [String.fromCharCode(parseInt(hex[1] ?? '', 16)), 3]
  }
  return [next, 1]
}

/** The path of the manager; all others but the log's are below it. */
export const MANAGER_PATH = '/org/freedesktop/machine1'

/**
 * Writes a name as one element of an object path (spec/dbus.md 5.2): letters stay, digits stay but in front,
 * every other byte becomes `_` and two hex digits, and the empty name is `_`.
 */
export function escapeLabel(name: string): string {
  if (name === '') return '_'
  let label = ''
  for (const byte of Buffer.from(name)) {
    const letter = (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a)
    const digit = byte >= 0x30 && byte <= 0x39
    label += letter || (digit && label !== '') ? String.fromCharCode(byte) : `_${byte.toString(16).padStart(2, '0')}`
  }
  return label
}

/** Reads a name back; several labels may stand for one name. A `_` without two hex digits stands for itself. */
export function unescapeLabel(label: string): string {
  if (label === '_') return ''
  if (!label.includes('_')) return label
  const bytes = Buffer.from(label)
  const name: number[] = []
  for (let at = 0; at < bytes.length; at++) {
    const hex = bytes.toString('latin1', at + 1, at + 3)
    if (bytes[at] === 0x5f && /^[0-9a-fA-F]{2}$/.test(hex)) {
      name.push(parseInt(hex, 16))
      at += 2
    } else name.push(bytes[at] ?? 0)
  }
  return Buffer.from(name).toString()
}

/** The name of the child of `path` on the way to `descendant`; undefined if that is not below `path`. */
export function childOn(path: string, descendant: string): string | undefined {
  const prefix = path === '/' ? '/' : `${path}/`
  if (!descendant.startsWith(prefix) || descendant.length === prefix.length) return undefined
  return descendant.slice(prefix.length).split('/')[0]
}

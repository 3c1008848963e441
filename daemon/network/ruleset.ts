/** The name of our tables. */
export const TABLE = 'machined'

/** Rules in the language of nft(8), and apart from them what comes and goes with machines. */
export interface Ruleset {
  /** Makes tables, chains, and sets and maps with nothing in them. */
  readonly frame: string
  /** By the full name of each set or map, such as `inet machined kept`, its keys; with their values for a map, else ''. */
  readonly elements: ReadonlyMap<string, Elements>
}

type Elements = ReadonlyMap<string, string>

/** The text of a chain with these rules. */
export function chain(name: string, rules: readonly string[]): string {
  return `\tchain ${name} {\n${rules.map((rule) => `\t\t${rule}\n`).join('')}\t}`
}

/** What a set has in it. */
export function elementsOf(keys: readonly (string | number)[]): Map<string, string> {
  return new Map(keys.map((key) => [String(key), '']))
}

/** The document that makes all of them. */
export function wholeDocument({ frame, elements }: Ruleset): string {
  return frame + Array.from(elements, ([name, all]) => command('add', name, all)).join('')
}

/** The document that makes one ruleset another, '' where they are the same; undefined when more than elements differ. */
export function changeDocument(before: Ruleset, after: Ruleset): string | undefined {
  if (before.frame !== after.frame) return undefined
  const changes = Array.from(after.elements, ([name, wanted]) => {
    const present = before.elements.get(name) ?? new Map<string, string>()
    // What leads elsewhere from now on goes and comes: an element cannot be changed.
    return command('delete', name, without(present, wanted)) + command('add', name, without(wanted, present))
  })
  return changes.join('')
}

function without(all: Elements, others: Elements): Elements {
  return new Map([...all].filter(([key, value]) => others.get(key) !== value))
}

function command(verb: 'add' | 'delete', name: string, elements: Elements): string {
  if (elements.size === 0) return ''
  const texts = Array.from(elements, ([key, value]) => (value === '' || verb === 'delete' ? key : `${key} : ${value}`))
  return `${verb} element ${name} { ${texts.join(', ')} }\n`
}

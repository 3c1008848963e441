/** The suffixes of entries, in the order in which a directory is searched for an image (spec/dbus.md 8.2). */
export const SUFFIXES = ['', '.raw', '.mstack', '.v', '.raw.v', '.mstack.v'] as const
export type Suffix = (typeof SUFFIXES)[number]

/** How an image's entry is named. */
export interface EntryName {
  readonly image: string
  readonly suffix: Suffix
}

/**
 * Reads the name of a search directory's entry, links followed to see what it is. Undefined for what cannot be an image: a
 * regular file needs `.raw`, a directory can have `.mstack` and `.v`.
 */
export function readEntryName(entry: string, kind: 'directory' | 'regular' | 'block'): EntryName | undefined {
  switch (kind) {
    case 'block':
      return { image: entry, suffix: '' }
    case 'regular':
      return entry.endsWith('.raw') ? { image: entry.slice(0, -'.raw'.length), suffix: '.raw' } : undefined
    case 'directory':
      for (const suffix of ['.raw.v', '.mstack.v', '.v', '.mstack'] as const) {
        if (entry.endsWith(suffix)) return { image: entry.slice(0, -suffix.length), suffix }
      }
      return { image: entry, suffix: '' }
  }
}

/** Whether an entry, found by putting a suffix behind an image's name, may be what it is. */
export function mayBe(entry: string, kind: 'directory' | 'regular' | 'block'): boolean {
  if (entry.endsWith('.raw')) return kind === 'regular'
  if (entry.endsWith('.mstack') || entry.endsWith('.v')) return kind === 'directory'
  return kind !== 'regular'
}

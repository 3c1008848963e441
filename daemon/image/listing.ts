import { readAllEntries } from '../linux/directory-entries.ts'
import { FileStatus } from '../linux/stat.ts'
import type { EntryImages } from './entry-images.ts'
import { readEntryName, SUFFIXES, type Suffix } from './entry-name.ts'
import type { Image } from './image.ts'
import { entriesIn, type Entry, type Place } from './search-directory.ts'
import { SteadyEntries } from './steady-entries.ts'

/** What is in a search directory. */
export interface Listing {
  readonly path: string
  readonly names: Names
  /** What each entry stands for. */
  readonly found: readonly (Image | undefined)[]
  readonly images: readonly Image[]
  readonly steady: SteadyEntries
}

interface Names {
  readonly status: FileStatus
  /** Whether the same status means the same names. */
  readonly lasting: boolean
  /** What the kernel gave for them, by which the same names are known without looking at each. */
  readonly raw: Buffer
  readonly entries: readonly Entry[]
}

const buffer = Buffer.allocUnsafeSlow(65536)

/** Looks at all entries of a search directory; its images are the same array as before when none has changed. Throws when it cannot be read. */
export function readListing(place: Place, before: Listing | undefined, images: EntryImages): Listing {
  const last = before?.path === place.path ? before : undefined
  const names = readNames(place, last?.names, images)
  const { entries } = names
  const lookAt = (entry: Entry): Image | undefined => images.at(place, entry, readEntryName)
  if (last?.names.entries !== entries) {
    const found = entries.map(lookAt)
    return {
      path: place.path,
      names,
      found,
      images: best(entries, found),
      steady: new SteadyEntries(entries, found, images)
    }
  }
  const doubtful = last.steady.doubtful(place)
  const found = [...last.found]
  for (const { at, entry } of doubtful) found[at] = lookAt(entry)
  const isSame = doubtful.every(({ at }) => found[at] === last.found[at])
  return {
    path: place.path,
    names,
    found,
    images: isSame ? last.images : best(entries, found),
    steady: last.steady.after(doubtful, found)
  }
}

/** The same entries as before when there is no other name. */
function readNames(place: Place, last: Names | undefined, images: EntryImages): Names {
  const status = new FileStatus()
  status.readOpen(place.fd)
  if (last?.lasting === true && last.status.equals(status)) return last
  const lasting = images.isSettled(status)
  const raw = readAllEntries(place.fd, buffer)
  if (last?.raw.equals(raw) === true) return { ...last, status, lasting }
  return { status, lasting, raw: Buffer.from(raw), entries: entriesIn(place, raw) }
}

/** Where several entries of a directory stand for one name, that which is found by it is it. */
function best(entries: readonly Entry[], images: readonly (Image | undefined)[]): readonly Image[] {
  const found = new Map<string, { image: Image; rank: number }>()
  entries.forEach(({ name }, at) => {
    const image = images[at]
    if (image === undefined) return
    const rank = rankOf(name, image)
    const other = found.get(image.name)
    if (other === undefined || rank < other.rank) found.set(image.name, { image, rank })
  })
  return [...found.values()].map(({ image }) => image)
}

/** The place among the entries of one image; a directory named as a file should be comes last, as a search for the name does not find it. */
function rankOf(entry: string, { name, type }: Image): number {
  if (entry === name && name.endsWith('.raw') && type !== 'block') return SUFFIXES.length
  return SUFFIXES.indexOf(entry.slice(name.length) as Suffix)
}

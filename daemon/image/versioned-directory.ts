import * as fs from 'node:fs'
import { compareText, compareVersions } from './compare-versions.ts'

/*
 * Directories named `NAME.v`, or `NAME.raw.v` and the like, which hold versions of one image (systemd.v(7)): entries
 * `NAME_VERSION[_ARCHITECTURE][+LEFT[-DONE]]SUFFIX`, of which the best counts.
 */

/** The architectures that systemd has names for. */
const ARCHITECTURES: ReadonlySet<string> = new Set(
  (
    'x86 x86-64 arm arm-be arm64 arm64-be arc arc-be alpha cris ia64 loongarch64 m68k mips mips-le mips64 mips64-le nios2 ' +
    'parisc parisc64 ppc ppc-le ppc64 ppc64-le riscv32 riscv64 s390 s390x sh sh64 sparc sparc64 tilegx'
  ).split(' ')
)

/** The architectures whose programs run here, by what Node calls ours; the best comes first. */
const RUNNABLE: Readonly<Record<string, readonly string[]>> = { x64: ['x86-64', 'x86'], arm64: ['arm64', 'arm'] }

const VALID_VERSION = /^[A-Za-z0-9.~^-]+$/
const TRIES = /\+([0-9]+)(?:-([0-9]+))?$/
const MOST_TRIES = 0xffff_ffff

/** Which entries belong together, and how they are to be read. */
export interface VersionPattern {
  readonly name: string
  /** With its dot; may be empty. */
  readonly suffix: string
  /** Whether names can say how often an image may still be tried. */
  readonly tries: boolean
}

interface Candidate {
  readonly entry: string
  readonly version: string
  /** 0 for our own architecture, the more the worse. */
  readonly foreignness: number
  readonly left: number
  readonly done: number
}

/**
 * The names of a directory's entries that are of certain kinds, or links, which may lead to such. Throws what reading the
 * directory does.
 */
export function entriesOf(directory: string, ...kinds: readonly ('directory' | 'regular' | 'block')[]): string[] {
  const isWanted = (entry: fs.Dirent): boolean =>
    entry.isSymbolicLink() ||
    (entry.isDirectory() && kinds.includes('directory')) ||
    (entry.isFile() && kinds.includes('regular')) ||
    (entry.isBlockDevice() && kinds.includes('block'))
  return fs
    .readdirSync(directory, { withFileTypes: true })
    .filter(isWanted)
    .map(({ name }) => name)
}

/** The best of a directory's entries; undefined when none fits the pattern. */
export function pickVersion(entries: readonly string[], pattern: VersionPattern): string | undefined {
  const candidates = entries.map((entry) => readEntry(entry, pattern)).filter((candidate) => candidate !== undefined)
  return candidates.sort(compareCandidates).at(-1)?.entry
}

function readEntry(entry: string, { name, suffix, tries }: VersionPattern): Candidate | undefined {
  if (!entry.startsWith(`${name}_`) || !entry.endsWith(suffix)) return undefined
  let rest = entry.slice(name.length + 1, entry.length - suffix.length)
  const counters = tries ? readTries(rest) : undefined
  if (counters !== undefined) rest = rest.slice(0, rest.lastIndexOf('+'))
  // What follows the last `_` is taken off even when it is no architecture.
  const at = rest.lastIndexOf('_')
  const foreignness = foreignnessOf(at < 0 ? '' : rest.slice(at + 1))
  const version = at < 0 ? rest : rest.slice(0, at)
  if (foreignness === undefined || !VALID_VERSION.test(version)) return undefined
  return { entry, version, foreignness, left: counters?.[0] ?? MOST_TRIES, done: counters?.[1] ?? MOST_TRIES }
}

function readTries(text: string): [left: number, done: number] | undefined {
  const match = TRIES.exec(text)
  if (match === null) return undefined
  const [left, done] = [Number(match[1]), Number(match[2] ?? 0)]
  return left <= MOST_TRIES && done <= MOST_TRIES ? [left, done] : undefined
}

/** Undefined for an architecture that does not run here; an entry without one is for all, and comes last. */
function foreignnessOf(architecture: string): number | undefined {
  const runnable = RUNNABLE[process.arch] ?? []
  if (!ARCHITECTURES.has(architecture)) return runnable.length
  const index = runnable.indexOf(architecture)
  return index < 0 ? undefined : index
}

/** The better one is the greater. */
function compareCandidates(a: Candidate, b: Candidate): number {
  return (
    Number(a.left !== 0) - Number(b.left !== 0) ||
    compareVersions(a.version, b.version) ||
    b.foreignness - a.foreignness ||
    a.left - b.left ||
    b.done - a.done ||
    compareText(a.entry, b.entry)
  )
}

import * as fs from 'node:fs'
import { join } from 'node:path'
import { entriesOf, pickVersion } from './versioned-directory.ts'

/*
 * Directories named `NAME.mstack` (systemd.mstack(7)), the entries of which are file systems to be mounted over one another.
 * Only what lists show of them is found out here.
 */

/** What there can be in a stack; `layer` are below, read-only, `rw` is what takes the writes, `root` is below all. */
type PartKind = 'layer' | 'rw' | 'bind' | 'robind' | 'root'

interface Part {
  readonly kind: PartKind
  /** Distinguishes layers: the text behind the `@`; where a bind goes: a path. */
  readonly key: string
  readonly path: string
  /** The owner, if it is a directory. */
  readonly uid: number | undefined
}

/** What is known of a stack. */
export interface MountStack {
  /** Nothing in it takes writes. */
  readonly readOnly: boolean
  /** The owners of its directories. */
  readonly uids: readonly number[]
}

/** Reads a stack. Throws when there is anything in it that does not belong there. */
export function readMountStack(directory: string): MountStack {
  const parts: Part[] = []
  for (const name of fs.readdirSync(directory)) {
    if (name.startsWith('.')) continue
    const part = readPart(directory, name)
    if (parts.some((other) => excludes(part, other))) throw new Error(`${name} is there twice`)
    parts.push(part)
  }
  const rest = withoutHidden(parts)
  const isEmpty = rest.every(({ kind, key }) => kind.endsWith('bind') && key !== '/')
  return {
    // Where there is no root, one in memory is made.
    readOnly: !isEmpty && rest.every(({ kind }) => kind === 'layer' || kind === 'robind'),
    uids: rest.map(({ uid }) => uid).filter((uid) => uid !== undefined)
  }
}

function readPart(directory: string, name: string): Part {
  let path = join(directory, name)
  let stat = fs.statSync(path)
  let label = name
  if (stat.isDirectory() && name.endsWith('.v')) {
    label = name.replace(/(\.raw)?\.v$/, '')
    const isRaw = name.endsWith('.raw.v')
    const entries = isRaw ? entriesOf(path, 'regular') : entriesOf(path, 'directory', 'block')
    const version = pickVersion(entries, { name: label, suffix: isRaw ? '.raw' : '', tries: false })
    if (version === undefined) throw new Error(`Nothing fits in ${name}`)
    path = join(path, version)
    stat = fs.statSync(path)
  } else if (stat.isFile()) {
    if (!name.endsWith('.raw')) throw new Error(`${name} is no image`)
    label = name.slice(0, -'.raw'.length)
  } else if (!stat.isDirectory() && !stat.isBlockDevice()) throw new Error(`${name} is no image`)
  return { ...readLabel(label), path, uid: stat.isDirectory() ? stat.uid : undefined }
}

function readLabel(label: string): { kind: PartKind; key: string } {
  if (label === 'rw' || label === 'root') return { kind: label, key: '' }
  const match = /^(layer|bind|robind)@(.+)$/.exec(label)
  if (match === null) throw new Error(`${label} is nothing for a stack`)
  const [kind, key] = [match[1] as PartKind, match[2] ?? '']
  return { kind, key: kind === 'layer' ? key : unescapePath(key) }
}

/** As in names of units: `-` stands for a slash (systemd-escape(1)). Throws for what is no path. */
function unescapePath(text: string): string {
  if (text === '-') return '/'
  const path = text.replaceAll('-', '/').replace(/\\(x[0-9a-fA-F]{2})?/g, (_, code: string | undefined) => {
    if (code === undefined) throw new Error(`${text} is no escaped path`)
    return String.fromCharCode(parseInt(code.slice(1), 16))
  })
  if (path.split('/').some((name) => name === '' || name === '.' || name === '..')) {
    throw new Error(`${text} is no escaped path`)
  }
  return `/${path}`
}

const isBind = ({ kind }: Part): boolean => kind === 'bind' || kind === 'robind'

function excludes(a: Part, b: Part): boolean {
  return a.key === b.key && (a.kind === b.kind || (isBind(a) && isBind(b)))
}

/** Leaves out what something else is mounted over; a single layer becomes a bind. */
function withoutHidden(parts: readonly Part[]): Part[] {
  const has = (test: (part: Part) => boolean): boolean => parts.some(test)
  const hasRoot = has(({ kind }) => kind === 'root')
  const isHidden = has((part) => isBind(part) && (part.key === '/' || (hasRoot && part.key === '/usr')))
  const inOverlay = ({ kind }: Part): boolean => !isHidden && (kind === 'layer' || kind === 'rw')
  const isSingle = parts.filter(inOverlay).length === 1
  const rest = parts
    .filter((part) => isBind(part) || part.kind === 'root' || inOverlay(part))
    .map((part) => (isSingle && inOverlay(part) ? asBind(part, hasRoot) : part))
  const hasRootBind = rest.some((part) => isBind(part) && part.key === '/')
  return rest.filter(({ kind }) => kind !== 'root' || !hasRootBind)
}

/** Beside a root, only its /usr/ counts. Throws when it has none. */
function asBind(part: Part, besideRoot: boolean): Part {
  const kind = part.kind === 'rw' ? 'bind' : 'robind'
  if (!besideRoot) return { ...part, kind, key: '/' }
  const usr = join(part.path, 'usr')
  if (!fs.lstatSync(usr).isDirectory()) throw new Error(`${usr} is no directory`)
  return { ...part, kind, key: '/usr' }
}

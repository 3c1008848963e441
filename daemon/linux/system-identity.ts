import { ifPossible } from '../base/errors.ts'
import { parse } from './env-file.ts'
import { readFileInside } from './inside-file.ts'
import { closeFd } from './libc.ts'
import { firstOf, OS_RELEASE_LIMIT } from './jobs-os-release.ts'
import { openat2 } from './openat2.ts'

/** More than any of these files has a use for. */
const FILE_LIMIT = 1024 * 1024
const HOSTNAME_MAX = 64
const O_PATH_DIRECTORY = 0x200000 | 0x10000

/** What the files of a system tree say of it; empty where they say nothing or cannot be read. */
export interface SystemIdentity {
  readonly hostname: string
  /** 32 hex digits or nothing. */
  readonly machineId: string
  readonly machineInfo: readonly (readonly [string, string])[]
  readonly osRelease: readonly (readonly [string, string])[]
}

/** Something of it. */
export type IdentityPart = keyof SystemIdentity

/** Nothing known. */
const NOTHING: SystemIdentity = { hostname: '', machineId: '', machineInfo: [], osRelease: [] }

/**
 * Reads hostname(5), machine-id(5), machine-info(5) and os-release(5) of the tree below a directory of `rootFd`, of which no
 * link leads out, or only `part`. For a thread: a file system in there may never answer. Throws what opening the directory
 * does.
 */
export function readSystemIdentity(rootFd: number, directory: string, part?: IdentityPart): SystemIdentity {
  const tree = openat2(rootFd, directory, O_PATH_DIRECTORY)
  try {
    const identity = { ...NOTHING }
    for (const [wanted, read] of Object.entries(readers)) {
      if (part === undefined || part === wanted)
        Object.assign(
          identity,
          ifPossible(() => read(tree))
        )
    }
    return identity
  } finally {
    closeFd(tree)
  }
}

/** How each is read, given the tree. */
const readers: Readonly<Record<IdentityPart, (tree: number) => Partial<SystemIdentity>>> = {
  hostname: (tree) => ({ hostname: readHostname(readFileInside(tree, 'etc/hostname', FILE_LIMIT)) }),
  machineId: (tree) => ({ machineId: readMachineId(readFileInside(tree, 'etc/machine-id', FILE_LIMIT)) }),
  machineInfo: (tree) => ({ machineInfo: readPairs(readFileInside(tree, 'etc/machine-info', FILE_LIMIT)) }),
  osRelease: (tree) => ({ osRelease: readPairs(firstOf((path) => readFileInside(tree, path, OS_RELEASE_LIMIT))) })
}

/**
 * The first line that is neither empty nor a comment, made a host name: other characters are left out, `?` and `$`, which
 * stand for parts to be filled in, are not.
 */
export function readHostname(text: string): string {
  const line = text
    .split(/[\n\r]/)
    .map((line) => line.trim())
    .find((line) => line !== '' && !line.startsWith('#'))
  let name = ''
  for (const char of line ?? '') {
    if (name.length === HOSTNAME_MAX) break
    const isAfterMark = name === '' || name.endsWith('.')
    if (char === '.' ? !isAfterMark && !name.endsWith('-') : char === '-' ? !isAfterMark : /[A-Za-z0-9?$]/.test(char)) {
      name += char
    }
  }
  name = name.replace(/[.-]$/, '')
  return name.endsWith('-') ? '' : name
}

/** An id as it is written there; nothing for one that is none yet or all zero. */
export function readMachineId(text: string): string {
  const id = /^([0-9a-fA-F]{32})\n?$/.exec(text)?.[1]?.toLowerCase() ?? ''
  return /^0*$/.test(id) ? '' : id
}

/** Assignments of any name. A file with one that is no UTF-8 counts for nothing. */
export function readPairs(text: string): [string, string][] {
  const pairs = [...parse(text, { cEscapes: false, anyKey: true })]
  return pairs.some((pair) => pair.join('').includes('\ufffd')) ? [] : pairs
}

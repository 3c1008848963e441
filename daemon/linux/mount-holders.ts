import * as fs from 'node:fs'
import { ifPossible } from '../base/errors.ts'
import { namesIn, readFileBounded } from './file.ts'
import { closeFd } from './libc.ts'
import { readMounts } from './mount-info.ts'

/** A process, with the name it gives itself. */
export interface Holder {
  readonly pid: number
  readonly name: string
}

/** Enough to tell somebody what to do about them. */
const MOST_HOLDERS = 4
const O_PATH = 0x200000
const LIMIT = 64 * 1024

/**
 * Processes that use what is mounted at a path or on it: have files of it open, run a program of it, or are in one of
 * its directories; at most four. They come and go while they are looked at. Memory maps of closed files are not looked
 * for, as that can hang (see proc(5), maps).
 */
export function findHolders(path: string): Holder[] {
  const mounts = new Set(readMounts().flatMap(({ id, mountPoint }) => (isBelow(path, mountPoint) ? [id] : [])))
  const holders: Holder[] = []
  for (const pid of fs.readdirSync('/proc')) {
    if (!/^\d+$/.test(pid) || !linksOf(pid).some((link) => leadsInto(link, path, mounts))) continue
    holders.push({ pid: Number(pid), name: nameOf(pid) })
    if (holders.length === MOST_HOLDERS) break
  }
  return holders
}

function isBelow(path: string, other: string): boolean {
  return other === path || other.startsWith(`${path}/`)
}

function linksOf(pid: string): string[] {
  const directory = `/proc/${pid}`
  const open = namesIn(`${directory}/fd`)
  return ['cwd', 'root', 'exe', ...open.map((fd) => `fd/${fd}`)].map((name) => `${directory}/${name}`)
}

/** The text alone says nothing: in another namespace it can be the name of anything. */
function leadsInto(link: string, path: string, mounts: ReadonlySet<number>): boolean {
  const target = ifPossible(() => fs.readlinkSync(link))
  if (target === undefined || !isBelow(path, target.replace(/ \(deleted\)$/, ''))) return false
  const fd = ifPossible(() => fs.openSync(link, O_PATH))
  if (fd === undefined) return false
  try {
    const text = readFileBounded(`/proc/thread-self/fdinfo/${String(fd)}`, LIMIT)
    return mounts.has(Number(/^mnt_id:\s*(\d+)$/m.exec(text)?.[1]))
  } finally {
    closeFd(fd)
  }
}

/** A process can name itself as it likes; what is printed is printable. */
function nameOf(pid: string): string {
  const name = ifPossible(() => readFileBounded(`/proc/${pid}/comm`, LIMIT)) ?? ''
  return name.trim().replace(/[^\x20-\x7e]/g, '?')
}

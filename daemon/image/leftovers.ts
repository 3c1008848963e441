import { promises as fs } from 'node:fs'
import { join } from 'node:path'
import { randomHex } from '../linux/random.ts'

/**
 * What images are called while they are made or removed, and their locks. Other programs give temporary files names that begin
 * alike but end with digits, `.lck` or what an image is called, so that whatever is called thus is ours.
 */
const PATTERN = /^(\.#[0-9a-f]{16}\.machined-(?:clone|removal))(?:\.lck)?$/

/** A name that nothing has. */
export function temporaryName(purpose: 'clone' | 'removal'): string {
  return `.#${randomHex(8)}.machined-${purpose}`
}

/**
 * Paths of what an interrupted work may have left in directories of images, and in those that hold versions of one. One after
 * the other: a directory that never answers keeps one of libuv's threads, for which we have no other use, and no more. Never
 * throws.
 */
export async function findLeftovers(directories: readonly string[]): Promise<string[]> {
  const found = new Set<string>()
  for (const directory of directories) {
    const names = await namesIn(directory)
    for (const path of leftoversOf(directory, names)) found.add(path)
    for (const name of names.filter((name) => name.endsWith('.v'))) {
      const versions = join(directory, name)
      for (const path of leftoversOf(versions, await namesIn(versions))) found.add(path)
    }
  }
  return [...found]
}

async function namesIn(directory: string): Promise<string[]> {
  return fs.readdir(directory).catch(() => [])
}

function leftoversOf(directory: string, names: readonly string[]): string[] {
  return names.flatMap((name) => PATTERN.exec(name)?.[1] ?? []).map((name) => join(directory, name))
}

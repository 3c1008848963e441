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

/** Paths of what an interrupted work may have left in directories of images, and in those that hold versions of one. Never throws. */
export async function findLeftovers(directories: readonly string[]): Promise<string[]> {
  const found = await Promise.all(directories.map((directory) => findIn(directory, true)))
  return [...new Set(found.flat())]
}

async function findIn(directory: string, deeper: boolean): Promise<string[]> {
  const names = await fs.readdir(directory).catch(() => [])
  const here = names.flatMap((name) => PATTERN.exec(name)?.[1] ?? []).map((name) => join(directory, name))
  const versioned = deeper ? names.filter((name) => name.endsWith('.v')) : []
  const below = await Promise.all(versioned.map((name) => findIn(join(directory, name), false)))
  return [...here, ...below.flat()]
}

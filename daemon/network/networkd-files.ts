import { join } from 'node:path'
import { configDirectories } from '../base/config-directories.ts'
import { namesIn, readFileBounded } from '../linux/file.ts'

const DIRECTORIES = configDirectories('systemd/network')
const LIMIT = 256 * 1024

/** The files of networkd for links (systemd.network(5)); of each name the one in the first directory. */
export function networkFiles(): string[] {
  const found = new Map<string, string>()
  for (const directory of DIRECTORIES.toReversed()) {
    for (const name of namesIn(directory)) if (name.endsWith('.network')) found.set(name, join(directory, name))
  }
  return [...found.values()]
}

/** What all lines with this key say, in any section. */
export function valuesIn(path: string, key: string): string[] {
  return valuesOf(textOf(path), key)
}

/** Whether the [Match] section is for a veth of that name; keys not known here are taken to match. */
export function isForVeth(path: string, name: string): boolean {
  const section = /^\[Match\]\s*$([^[]*)/m.exec(textOf(path))?.[1]
  if (section === undefined) return false
  const values = (key: string): string[] => valuesOf(section, key)
  const fits = (key: string, value: string): boolean => values(key).length === 0 || values(key).some(glob(value))
  const isSpecific = ['Name', 'Kind', 'Driver', 'Type'].some((key) => values(key).length > 0)
  return isSpecific && fits('Name', name) && fits('Kind', 'veth') && fits('Driver', 'veth') && fits('Type', 'ether')
}

function textOf(path: string): string {
  try {
    return readFileBounded(path, LIMIT)
  } catch {
    return ''
  }
}

function valuesOf(text: string, key: string): string[] {
  const lines = text.matchAll(new RegExp(`^\\s*${key}\\s*=(.*)$`, 'gm'))
  return Array.from(lines, ([, value = '']) => value.trim().split(/\s+/)).flat()
}

/** A pattern of shell-style wildcards, as fnmatch(3) has them. */
function glob(value: string): (pattern: string) => boolean {
  return (pattern) => {
    const source = pattern
      .replace(/[.+^${}()|\\]/g, '\\$&')
      .replaceAll('*', '.*')
      .replaceAll('?', '.')
    try {
      return new RegExp(`^${source}$`).test(value)
    } catch {
      return false
    }
  }
}

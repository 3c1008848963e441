import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The version in the package.json that came with the program, in a folder above it; `unknown` without one. */
export function version(): string {
  for (let folder = import.meta.dirname; folder !== '/'; folder = dirname(folder)) {
    const path = join(folder, 'package.json')
    if (existsSync(path)) return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version
  }
  return 'unknown'
}

import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { isSystemError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { readFileBounded, writeFileAtomically } from '../linux/file.ts'
import type { Forward } from './firewall-state.ts'
import { listenText, readForward } from './forward-text.ts'

const LIMIT = 16 * 1024 * 1024

/** Keeps the forwards that were added at run time until the next boot. Throws what fs throws. */
export function saveForwards(path: string, forwards: readonly Forward[]): void {
  const rows = forwards.map((forward) => [forward.machine, listenText(forward), String(forward.target)])
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
  writeFileAtomically(path, `${JSON.stringify(rows)}\n`, 0o644)
}

/** Reads them back; none where there are none, or where the file makes no sense. */
export function loadForwards(path: string): Forward[] {
  try {
    const rows = JSON.parse(readFileBounded(path, LIMIT)) as [string, string, string][]
    return rows.map(([machine, listen, target]) => readForward(machine, listen, target))
  } catch (error) {
    if (!isSystemError(error) || error.code !== 'ENOENT') log.warn({ err: error }, `Failed to read ${path}, ignoring`)
    return []
  }
}

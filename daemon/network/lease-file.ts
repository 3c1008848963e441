import { mkdirSync, renameSync } from 'node:fs'
import { dirname } from 'node:path'
import { isSystemError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { formatIp, formatPrefix, parseIp, parsePrefix, type Prefix } from '../base/prefix.ts'
import { readFileBounded, writeFileAtomically } from '../linux/file.ts'
import type { Lease } from './leases.ts'

const VERSION = 1
const LIMIT = 16 * 1024 * 1024

/** What is kept of a network from one boot to the next. */
export interface NetworkRecord {
  readonly subnet4: Prefix | undefined
  readonly subnet6: Prefix | undefined
  readonly leases: readonly Lease[]
}

/** Writes the record, replacing the file in one step. Throws what fs throws. */
export function saveRecord(path: string, { subnet4, subnet6, leases }: NetworkRecord): void {
  const record = {
    version: VERSION,
    subnet4: subnet4 && formatPrefix(subnet4),
    subnet6: subnet6 && formatPrefix(subnet6),
    leases: leases.map(({ ip4, ip6, ...lease }) => ({ ...lease, ip4: ip4 && formatIp(ip4), ip6: ip6 && formatIp(ip6) }))
  }
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
  writeFileAtomically(path, `${JSON.stringify(record, undefined, '\t')}\n`, 0o644)
}

/** Reads a record. A file that makes no sense is moved aside as `.bad`: all that is in it can be found again by hashes. */
export function loadRecord(path: string): NetworkRecord | undefined {
  try {
    return parseRecord(JSON.parse(readFileBounded(path, LIMIT)))
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return undefined
    log.warn({ err: error }, `Failed to read ${path}, moving it aside`)
    try {
      renameSync(path, `${path}.bad`)
    } catch {
      // It will be replaced.
    }
    return undefined
  }
}

function parseRecord(record: unknown): NetworkRecord {
  if (!isObject(record) || record['version'] !== VERSION || !Array.isArray(record['leases'])) {
    throw new TypeError('It is no record of a network')
  }
  return {
    subnet4: typeof record['subnet4'] === 'string' ? parsePrefix(record['subnet4']) : undefined,
    subnet6: typeof record['subnet6'] === 'string' ? parsePrefix(record['subnet6']) : undefined,
    leases: record['leases'].flatMap((lease: unknown) => parseLease(lease) ?? [])
  }
}

function parseLease(lease: unknown): Lease | undefined {
  if (!isObject(lease) || typeof lease['name'] !== 'string') return undefined
  const ip = (key: string): Buffer | undefined => {
    const text = lease[key]
    return typeof text === 'string' ? parseIp(text) : undefined
  }
  return {
    name: lease['name'],
    ip4: ip('ip4'),
    ip6: ip('ip6'),
    mac: typeof lease['mac'] === 'string' ? lease['mac'] : '',
    firstSeen: Number(lease['firstSeen']) || 0,
    lastSeen: Number(lease['lastSeen']) || 0,
    fixed: lease['fixed'] === true
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
}

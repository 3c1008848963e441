import { mkdirSync, renameSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { isSystemError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { formatIp, formatPrefix, parseIp, parsePrefix, type Prefix } from '../base/prefix.ts'
import { namesIn, readFileBounded, writeFileDurably } from '../linux/file.ts'
import { FileLock } from '../linux/file-lock.ts'
import type { Lease } from './leases.ts'

const VERSION = 1
const LIMIT = 16 * 1024 * 1024

/** What is kept of a network from one boot to the next. */
export interface NetworkRecord {
  readonly subnet4: Prefix | undefined
  readonly subnet6: Prefix | undefined
  readonly leases: readonly Lease[]
}

const SUFFIX = '.json'

/** The full names of the networks that a directory keeps something of. */
export function recordsIn(directory: string): string[] {
  return namesIn(directory).flatMap((file) => (file.endsWith(SUFFIX) ? file.slice(0, -SUFFIX.length) : []))
}

/** The file in a directory that keeps the network of that full name. */
export function leaseFile(directory: string, fullName: string): LeaseFile {
  return new LeaseFile(join(directory, `${fullName}${SUFFIX}`))
}

/** The file that keeps a network from one boot to the next. */
export class LeaseFile {
  readonly path: string
  /** Whoever has it writes the file; it goes with the process. */
  #lock: FileLock | undefined

  /** Nothing is opened yet. */
  constructor(path: string) {
    this.path = path
  }

  /**
   * Writes the record to the disk, replacing the file in one step (networking.md 7.4). One at a time. Rejects with EBUSY
   * where another daemon writes the file, and with what fs throws.
   */
  async save({ subnet4, subnet6, leases }: NetworkRecord): Promise<void> {
    const record = {
      version: VERSION,
      subnet4: subnet4 && formatPrefix(subnet4),
      subnet6: subnet6 && formatPrefix(subnet6),
      leases: leases.map(({ ip4, ip6, ...lease }) => ({
        ...lease,
        ip4: ip4 && formatIp(ip4),
        ip6: ip6 && formatIp(ip6)
      }))
    }
    const directory = dirname(this.path)
    mkdirSync(directory, { recursive: true, mode: 0o755 })
    this.#lock ??= FileLock.take(join(directory, `.#${basename(this.path)}.lck`), 'exclusive')
    await writeFileDurably(this.path, `${JSON.stringify(record, undefined, '\t')}\n`, 0o644)
  }

  /** Reads the record. A file that makes no sense is moved aside as `.bad`: all that is in it can be found again by hashes. */
  load(): NetworkRecord | undefined {
    try {
      return parseRecord(JSON.parse(readFileBounded(this.path, LIMIT)))
    } catch (error) {
      if (isSystemError(error) && error.code === 'ENOENT') return undefined
      log.warn({ err: error }, `Failed to read ${this.path}, moving it aside`)
      try {
        renameSync(this.path, `${this.path}.bad`)
      } catch {
        // It will be replaced.
      }
      return undefined
    }
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

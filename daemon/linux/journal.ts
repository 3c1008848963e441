import { fstatSync } from 'node:fs'
import type { LogEntry } from '../base/log.ts'
import { closeFd, send } from './libc.ts'
import { connectDatagram } from './unix-socket.ts'

const SOCKET = '/run/systemd/journal/socket'
const IDENTIFIER = 'systemd-machined'
/** LOG_AUTH of syslog(3), as the stock daemon's. */
const FACILITY = 4
/** Longest value that is sent, in bytes: a datagram holds about 200 KiB, and no message of ours is near that. */
const MAX_VALUE = 32 * 1024
const MAX_ENTRY = 128 * 1024

/** Whether standard error leads to the journal, so that structured entries reach the same reader ($JOURNAL_STREAM in systemd.exec(5)). */
export function stderrIsJournal(): boolean {
  const stream = process.env['JOURNAL_STREAM']
  if (stream === undefined) return false
  try {
    const stat = fstatSync(2, { bigint: true })
    return stream === `${String(stat.dev)}:${String(stat.ino)}`
  } catch {
    return false
  }
}

let socket: number | undefined

/** By one socket for all entries. When journald was started anew it leads nowhere, and another is tried. */
function sendToJournal(data: Buffer): void {
  if (socket !== undefined) {
    try {
      send(socket, data)
      return
    } catch {
      closeFd(socket)
      socket = undefined
    }
  }
  socket = connectDatagram(SOCKET)
  send(socket, data)
}

/** Writes one entry to the journal. Never throws: losing a message is no reason to stop. */
export function writeJournal(entry: LogEntry): void {
  try {
    sendToJournal(
      encodeEntry({
        MESSAGE: entry.message,
        PRIORITY: String(entry.priority),
        SYSLOG_IDENTIFIER: IDENTIFIER,
        SYSLOG_FACILITY: String(FACILITY),
        ...entry.fields
      })
    )
  } catch {
    // No journal, or its queue is full.
  }
}

/** Least important priority that is not left waiting: LOG_ERR. */
const URGENT = 3
/** How long entries wait for others, in ms: journald wakes up for all of them once, beside the work that they tell of. */
const GATHER_MS = 10
/** Entries sent in one turn of the loop; journald takes up to half a millisecond for each. */
const BATCH = 8

/**
 * Writes to the journal when the work at hand is done: taking up 1,000 machines logs as many messages. What waits is
 * written before any error, and at the end of the program.
 */
export class JournalQueue {
  readonly #waiting: LogEntry[] = []
  readonly #write: (entry: LogEntry) => void

  constructor(write = writeJournal) {
    this.#write = write
    process.on('exit', () => {
      this.#send(Infinity)
    })
  }

  /** Never throws. */
  write(entry: LogEntry): void {
    this.#waiting.push(entry)
    if (entry.priority <= URGENT) this.#send(Infinity)
    else if (this.#waiting.length === 1) setTimeout(this.#sendSome, GATHER_MS)
  }

  readonly #sendSome = (): void => {
    this.#send(BATCH)
    if (this.#waiting.length > 0) setImmediate(this.#sendSome)
  }

  #send(count: number): void {
    for (const entry of this.#waiting.splice(0, count)) this.#write(entry)
  }
}

const FIELD_NAME = /^[A-Z][A-Z0-9_]{0,63}$/
/** Where entries are put together, one after the other. */
const scratch = Buffer.allocUnsafeSlow(MAX_ENTRY)

/**
 * Fields in journald's native protocol, in memory that is used for the next entry again. Fields with invalid names, and those
 * beyond what a datagram holds, are left out; long values are cut.
 */
export function encodeEntry(fields: Readonly<Record<string, string>>): Buffer {
  let end = 0
  for (const [name, value] of Object.entries(fields)) if (FIELD_NAME.test(name)) end = appendField(name, value, end)
  return scratch.subarray(0, end)
}

/** Gives where the field ends. */
function appendField(name: string, value: string, start: number): number {
  const room = name.length + 10 + Math.min(Buffer.byteLength(value), MAX_VALUE)
  if (start + room > MAX_ENTRY) return start
  // A value with newlines is preceded by its length, 64 bits little endian.
  const isLine = !value.includes('\n')
  const begin = start + scratch.write(isLine ? `${name}=` : `${name}\n${' '.repeat(8)}`, start)
  const length = scratch.write(value, begin, MAX_VALUE)
  if (!isLine) scratch.writeBigUInt64LE(BigInt(length), begin - 8)
  return begin + length + scratch.write('\n', begin + length)
}

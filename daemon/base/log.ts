import { writeSync } from 'node:fs'
import { pino } from 'pino'
import { MachinedError } from './errors.ts'

/** One log message on its way to the journal or the terminal. */
export interface LogEntry {
  /** syslog(3) priority, 0 (emerg) to 7 (debug). */
  readonly priority: number
  readonly message: string
  /** Journal fields; the names are upper-case. */
  readonly fields: Readonly<Record<string, string>>
}

/** systemd's level names, indexed by syslog priority, with pino's name for each. */
const levels = [
  ['emerg', 'emerg'],
  ['alert', 'alert'],
  ['crit', 'fatal'],
  ['err', 'error'],
  ['warning', 'warn'],
  ['notice', 'notice'],
  ['info', 'info'],
  ['debug', 'debug']
] as const

let sink: (entry: LogEntry) => void = writeText

const destination = {
  // Has pino leave the level here before it writes.
  [Symbol.for('pino.metadata')]: true,
  lastLevel: 0,
  write(line: string): void {
    sink(new Line(this.lastLevel, line))
  }
}

/**
 * The program's logger. `log.info({ NAME: 'x', err: error }, 'text')`: upper-case keys become journal fields, `err` is
 * appended to the text (with its stack if it is a bug, that is, has no `code`), other keys are dropped.
 */
export const log = pino(
  {
    base: null,
    timestamp: false,
    level: 'info',
    customLevels: { notice: 35, alert: 70, emerg: 80 }
  },
  destination
)

/** Sends all further messages to `write`, which must not throw. Without it they are text on standard error. */
export function useSink(write: (entry: LogEntry) => void): void {
  sink = write
}

/** Sets the least important level that is still logged, by its name in systemd (`emerg` … `debug`). Throws InvalidArgs for another name. */
export function setLevel(name: string): void {
  const level = levels.find(([systemd]) => systemd === name)
  if (level === undefined) throw new MachinedError('InvalidArgs', `Invalid log level '${name}'`)
  log.level = level[1]
}

/** The least important level that is logged, by its name in systemd. */
export function getLevel(): string {
  return levels.find(([, name]) => name === log.level)?.[0] ?? 'debug'
}

/** As setLevel, by syslog(3) priority, 0 to 7. */
export function setLevelNumber(priority: number): void {
  setLevel(levels[priority]?.[0] ?? '')
}

/** As getLevel, by syslog(3) priority. */
export function getLevelNumber(): number {
  return levels.findIndex(([systemd]) => systemd === getLevel())
}

/** Honours $SYSTEMD_LOG_LEVEL: a name or a syslog priority. A bad value is ignored, as everywhere in systemd. */
export function useEnvironment(): void {
  const value = process.env['SYSTEMD_LOG_LEVEL'] ?? ''
  const level = levels.find(([name], priority) => value === name || value === String(priority))
  if (level !== undefined) log.level = level[1]
}

/** What pino wrote, taken apart when somebody asks: that can wait, while who logs is busy. */
class Line implements LogEntry {
  readonly priority: number
  readonly #line: string
  #said: Pick<LogEntry, 'message' | 'fields'> | undefined

  constructor(level: number, line: string) {
    this.priority = priorityOf(level)
    this.#line = line
  }

  get message(): string {
    return this.#parsed().message
  }

  get fields(): LogEntry['fields'] {
    return this.#parsed().fields
  }

  #parsed(): Pick<LogEntry, 'message' | 'fields'> {
    return (this.#said ??= partsOf(JSON.parse(this.#line) as Record<string, unknown>))
  }
}

function partsOf(record: Record<string, unknown>): Pick<LogEntry, 'message' | 'fields'> {
  const fields: Record<string, string> = {}
  for (const [key, value] of Object.entries(record)) {
    if (!/^[A-Z][A-Z0-9_]*$/.test(key) || value === undefined || value === null) continue
    fields[key] = typeof value === 'string' ? value : JSON.stringify(value)
  }
  let message = typeof record['msg'] === 'string' ? record['msg'] : ''
  const err = record['err'] as { message?: string; stack?: string; code?: string; errno?: number } | undefined
  if (typeof err === 'object') {
    // Given an error and no text, pino uses the error's own text.
    if (err.message !== undefined && message !== err.message) message += `: ${err.message}`
    if (err.code === undefined && err.stack !== undefined) message += `\n${err.stack}`
    if (typeof err.errno === 'number') fields['ERRNO'] = String(Math.abs(err.errno))
  }
  return { message, fields }
}

function priorityOf(level: number): number {
  const name = log.levels.labels[level]
  const priority = levels.findIndex(([, pinoName]) => pinoName === name)
  return priority < 0 ? 7 : priority
}

function writeText(entry: LogEntry): void {
  try {
    writeSync(2, `${entry.message}\n`)
  } catch {
    // There is nowhere left to complain to.
  }
}

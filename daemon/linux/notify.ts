import { sendDatagram } from './unix-socket.ts'

/**
 * Tells the service manager about our state, e.g. `['READY=1', 'STATUS=…']`. False when nobody wants to know; throws
 * when the message cannot be sent. See sd_notify(3).
 */
export function notify(lines: readonly string[]): boolean {
  const path = process.env['NOTIFY_SOCKET'] ?? ''
  if (!/^[/@]./.test(path)) return false
  sendDatagram(path, Buffer.from(lines.join('\n')))
  return true
}

/** After how many milliseconds without `WATCHDOG=1` the service manager kills us; undefined when it does not watch. See sd_watchdog_enabled(3). */
export function watchdogInterval(): number | undefined {
  const usec = Number(process.env['WATCHDOG_USEC'] ?? '')
  const pid = process.env['WATCHDOG_PID']
  if (!Number.isSafeInteger(usec) || usec <= 0) return undefined
  return pid === undefined || pid === String(process.pid) ? usec / 1000 : undefined
}

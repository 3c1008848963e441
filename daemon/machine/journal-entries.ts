import { log } from '../base/log.ts'
import type { Machine } from './machine.ts'

const MACHINE_STARTED = '24d8d4452573402496068381a6312df2'
const MACHINE_STOPPED = '58432bd3bace477cb514b56381b8a758'

/** Puts into the journal that a machine has come, by the message ID that the stock daemon uses. */
export function logStarted(machine: Machine): void {
  log.info({ MESSAGE_ID: MACHINE_STARTED, ...fieldsOf(machine) }, `New machine ${machine.name}.`)
}

/** Puts into the journal that a machine has gone, likewise. */
export function logStopped(machine: Machine): void {
  log.info({ MESSAGE_ID: MACHINE_STOPPED, ...fieldsOf(machine) }, `Machine ${machine.name} terminated.`)
}

function fieldsOf({ name, registration }: Machine): { NAME: string; LEADER: string } {
  return { NAME: name, LEADER: String(registration.leader?.pid ?? 0) }
}

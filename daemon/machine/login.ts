import { isMissingUnit, type ServiceManager } from '../bus/systemd.ts'
import { closeFd } from '../linux/libc.ts'
import { withServiceManager, type Reach } from './inner-systemd.ts'
import type { Machine } from './machine.ts'
import { openTerminal, terminalNumber, type Terminal } from './terminal.ts'

/**
 * A terminal of a machine on which a login prompt is about to appear (spec/dbus.md 7.6). Throws what `openTerminal` and
 * `withServiceManager` throw.
 */
export async function openLogin(machine: Machine, reach: Reach): Promise<Terminal> {
  const terminal = await openTerminal(machine, reach.workers)
  try {
    const unit = `container-getty@${terminalNumber(terminal)}.service`
    await withServiceManager(machine, reach, (systemd) => start(systemd, unit))
    return terminal
  } catch (error) {
    closeFd(terminal.fd)
    throw error
  }
}

/** The unit starts anew after each login; on a terminal that is gone it does so in vain until no more starts are allowed. */
async function start(systemd: ServiceManager, unit: string): Promise<void> {
  await systemd.resetFailedUnit(unit).catch((error: unknown) => {
    if (!isMissingUnit(error)) throw error
  })
  await systemd.startUnit(unit)
}

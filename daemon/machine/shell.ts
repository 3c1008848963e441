import { Variant } from '../bus/client-bus.ts'
import { isDBusError } from '../bus/connection.ts'
import type { ServiceManager, UnitProperty } from '../bus/systemd.ts'
import { closeFd, dupFd } from '../linux/libc.ts'
import { withServiceManager, type Reach } from './inner-systemd.ts'
import type { Machine } from './machine.ts'
import type { Shell } from './shell-request.ts'
import { openTerminalPair, terminalName, terminalNumber, type Terminal } from './terminal.ts'

/** What older service managers may not know, and a shell can do without. */
const DISPENSABLE = ['IgnoreSIGPIPE', 'SendSIGHUP', 'TTYReset', 'UtmpIdentifier', 'UtmpMode', 'WorkingDirectory']

/**
 * A terminal of a machine on which a program begins to run as a user with a session of its own (spec/dbus.md 7.7). Throws
 * what `openTerminal` and `withServiceManager` throw.
 */
export async function openShell(machine: Machine, shell: Shell, reach: Reach): Promise<Terminal> {
  const { peer, ...terminal } = await openTerminalPair(machine, reach.workers)
  try {
    await withServiceManager(machine, reach, (systemd) => start(systemd, shell, terminal, peer))
    return terminal
  } catch (error) {
    closeFd(terminal.fd)
    throw error
  } finally {
    closeFd(peer)
  }
}

/** Leaves out one after the other what PID 1 in there does not know. */
async function start(systemd: ServiceManager, shell: Shell, terminal: Terminal, peer: number): Promise<void> {
  const unit = `container-shell@${terminalNumber(terminal)}.service`
  const unknown = new Set<string>()
  for (;;) {
    const properties = [...standardStreams(peer), ...unitProperties(shell, terminal)]
    try {
      await systemd.startTransientUnit(
        unit,
        properties.filter(([name]) => !unknown.has(name))
      )
      return
    } catch (error) {
      const name = unknownProperty(error)
      if (name === undefined || unknown.has(name)) throw error
      unknown.add(name)
    }
  }
}

/** Which of the dispensable properties an error is about. */
function unknownProperty(error: unknown): string | undefined {
  if (!isDBusError(error) || error.type !== 'org.freedesktop.DBus.Error.PropertyReadOnly') return undefined
  return DISPENSABLE.find((name) => error.text.includes(` ${name},`))
}

/** A message closes the descriptors in it, so each gets its own. */
function standardStreams(peer: number): UnitProperty[] {
  return ['Input', 'Output', 'Error'].map((stream) => [
    `Standard${stream}FileDescriptor`,
    new Variant('h', dupFd(peer))
  ])
}

function unitProperties({ user, path, args, environment }: Shell, terminal: Terminal): UnitProperty[] {
  const properties: UnitProperty[] = [
    ['Description', new Variant('s', `Shell for User ${user}`)],
    ['SendSIGHUP', new Variant('b', true)],
    ['IgnoreSIGPIPE', new Variant('b', false)],
    ['KillMode', new Variant('s', 'mixed')],
    ['TTYPath', new Variant('s', terminal.path)],
    ['TTYReset', new Variant('b', true)],
    ['UtmpIdentifier', new Variant('s', terminalName(terminal))],
    ['UtmpMode', new Variant('s', 'user')],
    ['PAMName', new Variant('s', 'login')],
    // Home, if it can be entered.
    ['WorkingDirectory', new Variant('s', '-~')],
    ['User', new Variant('s', user)],
    // That the program fails is no failure of the unit.
    ['ExecStart', new Variant('a(sasb)', [[path, args, true]])]
  ]
  if (environment.length > 0) properties.push(['Environment', new Variant('as', environment)])
  return properties
}

import type { Machine } from '../machine/machine.ts'
import type { Shell } from '../machine/shell-request.ts'
import type { AccessRule } from './access.ts'

/** What calls for a terminal, a login and a shell need; the host has actions of its own (spec/dbus.md 7.5 to 7.7). */
export const terminalActions = {
  pty: ['open-pty', 'host-open-pty'],
  login: ['login', 'host-login'],
  shell: ['shell', 'host-shell']
} as const

type Kind = keyof typeof terminalActions
type TerminalRule<K extends Kind> = AccessRule<(typeof terminalActions)[K][number]>

/** To have a bare terminal in a machine. */
export function ptyRule(machine: Machine): TerminalRule<'pty'> {
  return ruleOf('pty', machine, {})
}

/** To have a login prompt in a machine. */
export function loginRule(machine: Machine): TerminalRule<'login'> {
  return ruleOf('login', machine, { verb: 'login' })
}

/** To have a program run in a machine on a terminal. */
export function shellRule(machine: Machine, { user, path, args }: Shell): TerminalRule<'shell'> {
  return ruleOf('shell', machine, { user, program: path, command_line: args.join(' ') })
}

function ruleOf<K extends Kind>(
  kind: K,
  { name, class: machineClass, registration }: Machine,
  details: Readonly<Record<string, string>>
): TerminalRule<K> {
  const [container, host] = terminalActions[kind]
  const action = machineClass === 'host' ? host : container
  return { action, details: { machine: name, ...details }, owner: registration.owner }
}

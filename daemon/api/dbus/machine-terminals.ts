import { openLogin as openLoginIn } from '../../machine/login.ts'
import { checkShell, type ShellRequest } from '../../machine/shell-request.ts'
import { openShell as openShellIn } from '../../machine/shell.ts'
import { openTerminal, type Terminal } from '../../machine/terminal.ts'
import type { MachineTarget } from '../machine-access.ts'
import { loginRule, ptyRule, shellRule, terminalActions } from '../terminal-access.ts'
import { method } from './table.ts'

const results = { pty: 'h', pty_path: 's' } as const

async function resultsOf(terminal: Promise<Terminal>): Promise<[number, string]> {
  const { fd, path } = await terminal
  return [fd, path]
}

export const openPTY = method({
  in: {},
  out: results,
  access: { actions: terminalActions.pty, rule: ({ machine }: MachineTarget) => ptyRule(machine) },
  run: ({ manager, machine }: MachineTarget) => resultsOf(openTerminal(machine, manager.workers))
})

export const openLogin = method({
  in: {},
  out: results,
  access: { actions: terminalActions.login, rule: ({ machine }: MachineTarget) => loginRule(machine) },
  run: ({ manager, machine }: MachineTarget) => resultsOf(openLoginIn(machine, manager))
})

export const openShell = method({
  in: { user: 's', path: 's', args: 'as', environment: 'as' },
  out: results,
  access: {
    actions: terminalActions.shell,
    rule: ({ machine }: MachineTarget, request: ShellRequest) => shellRule(machine, checkShell(machine, request))
  },
  run: ({ manager, machine }: MachineTarget, request: ShellRequest) =>
    resultsOf(openShellIn(machine, checkShell(machine, request), manager))
})

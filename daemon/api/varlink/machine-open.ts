import { MachinedError, isSystemError } from '../../base/errors.ts'
import { openLogin } from '../../machine/login.ts'
import type { Machine } from '../../machine/machine.ts'
import { checkShell, isPlausibleUser, refuseOurRoot, type Shell } from '../../machine/shell-request.ts'
import { openShell } from '../../machine/shell.ts'
import { openTerminal, type Terminal } from '../../machine/terminal.ts'
import type { Manager } from '../../manager.ts'
import type { AccessRule } from '../access.ts'
import { loginRule, ptyRule, shellRule, terminalActions } from '../terminal-access.ts'
import { VarlinkError } from './errors.ts'
import { readAbsolutePath, readString, readStrings, strings } from './fields.ts'
import type { Json } from './json.ts'
import { openMode } from './machine-types.ts'
import { BadValue, field, integer, needed, optional, string } from './schema.ts'
import { onMachine } from './selector.ts'

const MOST_ASSIGNMENTS = 16384
const onlyShell = 'Counts only when a shell is opened.'

function readUser(value: Json): string {
  const user = readString(value)
  if (user === '' || /^\d+$/.test(user) || !isPlausibleUser(user)) throw new BadValue()
  return user
}

/** Of several assignments to one variable the last counts. */
function readEnvironment(value: Json): string[] {
  const assignments = readStrings(value)
  const parts = assignments.map((text) => /^([A-Za-z_][A-Za-z0-9_]*)=/.exec(text)?.[1])
  if (parts.includes(undefined) || assignments.length > MOST_ASSIGNMENTS) throw new BadValue()
  return [...new Map(parts.map((name, index) => [name, assignments[index] ?? ''])).values()]
}

const parameters = {
  mode: needed(openMode, 'What is to be at the other end.', (value) => value as 'tty' | 'login' | 'shell'),
  user: optional(string, `The user by name. Root if left out. ${onlyShell}`, readUser),
  path: optional(string, `The program. The user's login shell if left out. ${onlyShell}`, readAbsolutePath),
  args: optional(strings, `What the program gets, its own name first. ${onlyShell}`, readStrings),
  environment: optional(strings, `Assignments to environment variables. ${onlyShell}`, readEnvironment)
}

interface Given {
  readonly mode: 'tty' | 'login' | 'shell'
  readonly user: string | undefined
  readonly path: string | undefined
  readonly args: string[] | undefined
  readonly environment: string[] | undefined
}

function shellOf(machine: Machine, { user = '', path = '', args = [], environment = [] }: Given): Shell {
  return checkShell(machine, { user, path, args, environment })
}

type TerminalAction = (typeof terminalActions)[keyof typeof terminalActions][number]

/** As on D-Bus, with the verb told for a shell too (spec/varlink-and-clients.md A11). */
function ruleOf(machine: Machine, given: Given): AccessRule<TerminalAction> {
  // Whoever has a terminal in there may get to be root of the host where there is no user namespace.
  refuseOurRoot(machine)
  if (given.mode === 'tty') return ptyRule(machine)
  if (given.mode === 'login') return loginRule(machine)
  const { details, ...rule } = shellRule(machine, shellOf(machine, given))
  const { machine: name = '', ...more } = details
  return { ...rule, details: { machine: name, verb: 'shell', ...more } }
}

async function openAs(machine: Machine, given: Given, manager: Manager): Promise<Terminal> {
  try {
    if (given.mode === 'tty') return await openTerminal(machine, manager.workers)
    if (given.mode === 'login') return await openLogin(machine, manager)
    return await openShell(machine, shellOf(machine, given), manager)
  } catch (error) {
    if (error instanceof MachinedError && error.code === 'FileNotFound') {
      throw new VarlinkError('io.systemd.Machine.NoIPC')
    }
    const isUnsupported = isSystemError(error) && ['EOPNOTSUPP', 'ENOTSUP'].includes(error.code)
    if (isUnsupported) throw new MachinedError('NotSupported', 'Not supported', { cause: error })
    throw error
  }
}

/** `io.systemd.Machine.Open` (spec/varlink-and-clients.md A11). */
export const open = onMachine({
  doc: 'Opens a terminal in a machine.',
  in: parameters,
  out: {
    ptyFileDescriptor: field(integer, 'Which of the descriptors of this reply is our side of the terminal.'),
    ptyPath: field(string, "The other side's path in the machine.")
  },
  actions: [...terminalActions.pty, ...terminalActions.login, ...terminalActions.shell],
  rule: ({ machine }, given) => ruleOf(machine, given),
  run: async ({ manager, machine }, given, call) => {
    const { fd, path } = await openAs(machine, given, manager)
    return { ptyFileDescriptor: call.attach(fd), ptyPath: path }
  }
})

import { MachinedError } from '../base/errors.ts'
import { sharesUserNamespace } from '../linux/user-namespace.ts'
import type { Machine } from './machine.ts'

const MOST_ASSIGNMENTS = 16384
const DEFAULT_SHELL = '/bin/sh'

/** What is asked for: empty strings and lists mean that the defaults will do. */
export interface ShellRequest {
  readonly user: string
  readonly path: string
  /** From argv[0] on. */
  readonly args: readonly string[]
  /** `NAME=value` each. */
  readonly environment: readonly string[]
}

/** The same, complete and sound. */
export type Shell = ShellRequest

/**
 * Execs the login shell of the user that is its first argument, or /bin/sh. The user is never part of the script. PID 1
 * takes `${` for a variable of its own, so there is none.
 */
const LOGIN_SHELL = `set -f
IFS=:
set -- $(getent passwd "$1" 2>/dev/null)
test -n "$7" && exec "$7" -l
exec ${DEFAULT_SHELL} -l`

/**
 * Completes a request for a shell in a machine (spec/dbus.md 7.7). Throws what it can be refused for, whoever asks:
 * InvalidArgs, AccessDenied, LimitsExceeded; ESRCH when the leader is gone.
 */
export function checkShell(machine: Machine, request: ShellRequest): Shell {
  const user = request.user || 'root'
  requireText([user, request.path, ...request.args, ...request.environment])
  if (!isPlausibleUser(user)) throw new MachinedError('InvalidArgs', `Invalid user name '${user}'`)
  refuseOurRoot(machine)
  const { path, args } = request
  if (path !== '' && !path.startsWith('/')) {
    throw new MachinedError('InvalidArgs', `Specified path '${path}' is not absolute`)
  }
  checkEnvironment(request.environment)
  if (path === '') return { ...request, user, path: DEFAULT_SHELL, args: ['sh', '-c', LOGIN_SHELL, 'sh', user] }
  return { ...request, user, args: args.length === 0 ? [path] : args }
}

/** Users register what runs as them; root in there would be root of the host where there is no user namespace. */
export function refuseOurRoot({ registration }: Machine): void {
  const { owner, leader } = registration
  if (owner === 0 || leader === undefined || !sharesUserNamespace(leader)) return
  throw new MachinedError('AccessDenied', 'Only root may shell into the root user namespace')
}

/** Throws InvalidArgs for what cannot be told to PID 1. */
function requireText(strings: readonly string[]): void {
  if (strings.every((text) => text.isWellFormed() && !text.includes('\0'))) return
  throw new MachinedError('InvalidArgs', 'Invalid text')
}

/** A name in the widest sense that login programs take, or a UID. */
export function isPlausibleUser(user: string): boolean {
  if (/^\d+$/.test(user)) return isUid(user)
  if (/^-\d*$/.test(user) || user === '.' || user === '..') return false
  return !/[\x00-\x1f\x7f:/]|^ | $/.test(user)
}

function isUid(digits: string): boolean {
  const uid = Number(digits)
  return String(uid) === digits && uid < 0xffffffff && uid !== 0xffff
}

function checkEnvironment(environment: readonly string[]): void {
  if (environment.length > MOST_ASSIGNMENTS) {
    throw new MachinedError('LimitsExceeded', 'Too many environment assignments in a single query.')
  }
  const names = environment.map((assignment) => /^([A-Za-z_][A-Za-z0-9_]*)=/.exec(assignment)?.[1])
  if (!names.includes(undefined) && new Set(names).size === names.length) return
  throw new MachinedError('InvalidArgs', 'Invalid environment assignments')
}

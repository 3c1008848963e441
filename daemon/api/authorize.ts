import { MachinedError } from '../base/errors.ts'
import type { Authority } from '../bus/polkit.ts'
import type { AccessRule, Caller, Grant } from './access.ts'

const notEnabled =
  'Access denied as the requested operation requires interactive authentication. ' +
  'However, interactive authentication has not been enabled by the calling program.'

/** How often a call whose rule changed meanwhile is authorized. */
const maxAuthorizations = 2

const actionPrefix = 'org.freedesktop.machine1.'

const ownUid = process.getuid?.()

/** Whether a user may do all that we can do: root, and whom the daemon runs as. */
export function isPrivileged(uid: number): boolean {
  return uid === 0 || uid === ownUid
}

/** What the rule grants to a UID by itself, without asking polkit: to the owner, and to the privileged. */
export function grantByUid(rule: AccessRule, uid: number): Grant | undefined {
  if (isPrivileged(uid)) return { admin: true }
  return rule.owner === uid ? { admin: false } : undefined
}

/**
 * Decides whether the caller may do what the rule names (spec/dbus.md 0.6). Throws `AccessDenied`,
 * `InteractiveAuthorizationRequired`, or the DBusError of a polkit that failed otherwise.
 */
export async function authorize(authority: Authority, rule: AccessRule, caller: Caller): Promise<Grant> {
  const grant = grantByUid(rule, await caller.uid())
  if (grant) return grant
  const { action, details } = rule
  const question = {
    subject: caller.subject(),
    action: actionPrefix + action,
    details,
    interactive: caller.interactive
  }
  const answer = await authority.check(question, caller.signal)
  if (answer.authorized) return { admin: answer.admin }
  if (answer.challenge) throw new MachinedError('InteractiveAuthorizationRequired', notEnabled)
  throw new MachinedError('AccessDenied', 'Permission denied')
}

/** Whether what was authorized under one rule may be done under the other: the same thing to the same owner's machine. */
export function sameRule(one: AccessRule, other: AccessRule): boolean {
  const names = Object.keys(one.details)
  return (
    one.action === other.action &&
    one.owner === other.owner &&
    names.length === Object.keys(other.details).length &&
    names.every((name) => Object.hasOwn(other.details, name) && one.details[name] === other.details[name])
  )
}

/**
 * Authorizes, then looks everything up `again`: while we waited, what the call is about may have become another. Gives
 * what was found last, and the grant for it. Throws as `authorize` and `again` do.
 */
export async function authorizeAgain<T>(
  authority: Authority,
  rule: AccessRule,
  caller: Caller,
  again: () => Promise<[target: T, rule: AccessRule]>
): Promise<{ target: T; grant: Grant }> {
  let authorized = rule
  for (let round = 0; round < maxAuthorizations; round++) {
    const grant = await authorize(authority, authorized, caller)
    const [target, current] = await again()
    if (sameRule(authorized, current)) return { target, grant }
    authorized = current
  }
  throw new MachinedError('AccessDenied', 'Permission denied')
}

import type { PolkitSubject } from '../bus/polkit.ts'
import type { PidRef } from '../linux/process.ts'
import type { ActionName } from './polkit-actions.ts'

/** Who calls, on whichever wire. */
export interface Caller {
  /** How polkit is told who this is. Throws EPERM where it cannot be told. */
  readonly subject: () => PolkitSubject
  /** Whether the user behind the call may be asked for a password. */
  readonly interactive: boolean
  /** Aborted when nobody waits for the answer any more. */
  readonly signal?: AbortSignal
  /** The effective UID of the calling process. */
  uid(): number | Promise<number>
  /** Pins the calling process; whoever asked closes it. */
  pin(): PidRef | Promise<PidRef>
}

/** What authorization found out about an allowed caller. */
export interface Grant {
  /** Whether the caller is root or has shown to be an administrator (spec/dbus.md 0.6). */
  readonly admin: boolean
}

/** What a call must be authorized for. */
export interface AccessRule<N extends ActionName = ActionName> {
  readonly action: N
  /** What polkit is told about the call. */
  readonly details: Readonly<Record<string, string>>
  /** The UID that needs no authorization. */
  readonly owner?: number
}

/** Who may call a method that is not for anyone. `C` is the caller as the wire knows it. */
export interface AccessOn<C, T, A, N extends ActionName = ActionName> {
  /** The polkit actions that calls can need: each call needs one of them. */
  readonly actions: readonly N[]
  /** Looks up and validates, then says what this call needs; must change nothing. */
  readonly rule: (target: T, args: A, caller: C) => AccessRule<NoInfer<N>> | Promise<AccessRule<NoInfer<N>>>
}

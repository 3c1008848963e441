import type { VarlinkServers } from './api/varlink/serve.ts'
import type { Operations } from './base/operations.ts'
import type { Connection } from './bus/connection.ts'
import type { OwnName } from './bus/own-name.ts'
import { notify } from './linux/notify.ts'

/** What can give the daemon something to do, and how it goes when nothing does. */
export interface Workplace {
  readonly connection: Pick<Connection, 'onMethodCall' | 'pendingCalls'>
  readonly varlink: Pick<VarlinkServers, 'connections' | 'onLeave' | 'close'>
  readonly machines: { names(): readonly string[]; on(event: 'removed', listener: () => void): unknown }
  readonly operations: Pick<Operations, 'size'>
  readonly name: Pick<OwnName, 'release' | 'startOwner'>
  /** Sends what is still to be sent and ends the process. */
  readonly exit: () => void
}

/**
 * Ends the daemon once it has had nothing to do for so many milliseconds, if it ever is to (spec/dbus.md 1.7): no call of others or our own,
 * no client of Varlink, no operation, no machine. Whoever calls after that has the next one started.
 */
export function exitWhenIdle(idleMs: number | undefined, workplace: Workplace): void {
  if (idleMs === undefined) return
  const { connection, varlink, machines, operations } = workplace
  const calls = new Set<Promise<void>>()
  const isIdle = (): boolean =>
    calls.size + connection.pendingCalls + varlink.connections + operations.size + machines.names().length === 0
  let leaving = false
  const look = (): void => {
    if (leaving) return
    leaving = isIdle()
    if (leaving) void leave(workplace, calls)
    else timer.refresh()
  }
  // Only after a last glance at all sockets, which the loop takes between a timer and an immediate.
  const timer = setTimeout(() => setImmediate(look), idleMs)
  const touch = (): void => {
    timer.refresh()
  }
  machines.on('removed', touch)
  varlink.onLeave = touch
  connection.onMethodCall = noting(connection.onMethodCall, calls, touch)
}

/** Goes in an order that loses nobody's call. */
async function leave({ varlink, machines, name, exit }: Workplace, calls: ReadonlySet<unknown>): Promise<void> {
  // There is no client; who connects from now on is the next daemon's.
  varlink.close()
  // From now on the service manager lets a start wait till we are gone; till now, giving up the name would lose calls.
  notify(['STOPPING=1', 'STATUS=Shutting down...'])
  await name.release()
  while (calls.size > 0) await Promise.allSettled(calls)
  // A machine that came in through the closing door has its file, but needs somebody to watch it.
  if (machines.names().length > 0) name.startOwner().catch(() => undefined)
  exit()
}

type Handle = Connection['onMethodCall']

/** Handles calls, keeping account of those that are not over yet. */
function noting(handle: Handle, calls: Set<Promise<void>>, touch: () => void): Handle {
  return (message) => {
    touch()
    const pending = handle(message)
    if (pending === undefined) return
    const ended = pending.finally(() => {
      calls.delete(ended)
      touch()
    })
    calls.add(ended)
    return ended
  }
}

import { setTimeout as sleep } from 'node:timers/promises'
import { explain, isSystemError, MachinedError } from '../base/errors.ts'
import { Connection } from '../bus/connection.ts'
import { ProtocolError } from '../bus/message.ts'
import { ServiceManager } from '../bus/systemd.ts'
import { rootOf } from '../linux/id-map.ts'
import type { NamespaceWorkers } from '../linux/namespace-workers.ts'
import type { Machine } from './machine.ts'
import { leaderForTerminals } from './terminal.ts'

/**
 * A bus in a container is whatever its root says it is. We greet it and make a call or two: the answers are short, and
 * come before the caller of ours, who waits for 25 s, is gone.
 */
const DISTRUST = { uid: 0, needsFds: true, maxLength: 64 * 1024, maxReceived: 256 * 1024 }
const GREETING_MS = 5000
const CALL_MS = 12_000
/** How often and how fast to try again while the queue of the bus is full. */
const ATTEMPTS = 50
const PAUSE_MS = 20

/** What it takes to reach the service manager of a machine. */
export interface Reach {
  readonly systemd: ServiceManager
  readonly workers: NamespaceWorkers
}

/**
 * Lets `work` talk to the service manager that runs in a machine; for the host that is ours. A container is reached by a
 * connection of its own to its system bus, which ends with `work` (spec/dbus.md 7.6). Throws FileNotFound where there is no
 * bus, Failed, ECONNREFUSED, EAGAIN, ETIMEDOUT for one that does not do, and the errors that PID 1 in there answers with.
 */
export async function withServiceManager<T>(
  machine: Machine,
  { systemd, workers }: Reach,
  work: (systemd: ServiceManager) => Promise<T>
): Promise<T> {
  if (machine.class === 'host') return work(systemd)
  const connection = await connect(machine, workers)
  try {
    return await work(new ServiceManager(connection))
  } finally {
    connection.close()
  }
}

async function connect(machine: Machine, workers: NamespaceWorkers): Promise<Connection> {
  try {
    const socket = await connectSocket(machine, workers)
    return await Connection.adopt(socket, { ...DISTRUST, greeting: GREETING_MS, timeout: CALL_MS })
  } catch (error) {
    const { name } = machine
    if (isSystemError(error) && error.code === 'ENOENT') {
      throw new MachinedError('FileNotFound', `There is no system bus in container ${name}.`)
    }
    const what = `Failed to connect to the system bus in container ${name}`
    if (error instanceof ProtocolError) throw new MachinedError('Failed', `${what}: ${error.message}`)
    throw explain(what, error)
  }
}

async function connectSocket(machine: Machine, workers: NamespaceWorkers): Promise<number> {
  const leader = leaderForTerminals(machine)
  for (let attempt = 1; ; attempt++) {
    try {
      return await workers.run(machine, { leader }, 'connectBus', { user: rootOf(leader) })
    } catch (error) {
      if (!isSystemError(error) || error.code !== 'EAGAIN' || attempt === ATTEMPTS) throw error
      await sleep(PAUSE_MS)
    }
  }
}

import { rejects } from 'node:assert/strict'
import { openSync } from 'node:fs'
import { Variant } from '../../daemon/bus/client-bus.ts'
import { Connection } from '../../daemon/bus/connection.ts'
import { dupFd, pidfdOpen } from '../../daemon/linux/libc.ts'

// The client of the tests that call a great many times: runs inside the test host, see stress.ts.
//
//   stress-client cycles COUNT PID...        registers and unregisters COUNT times in all, one lane for each leader
//   stress-client unwanted COUNT             makes COUNT calls with descriptors that nobody asked for
//   stress-client registrations COUNT PID    registers by descriptor, well and badly, COUNT times each
//   stress-client vanish COUNT PID           sends a registration with descriptors and disconnects, COUNT times
//   stress-client create COUNT PID           creates a machine with descriptors among the scope's properties

const manager = {
  destination: 'org.freedesktop.machine1',
  path: '/org/freedesktop/machine1',
  interface: 'org.freedesktop.machine1.Manager'
}
const batch = 100
const properties = { ...manager, member: 'RegisterMachineEx', signature: 'sa(sv)' }

function unregister(bus: Connection, name: string): Promise<unknown> {
  return bus.call({ ...manager, member: 'UnregisterMachine', signature: 's', body: [name] })
}

/** When this is answered, so is all that was sent before and needed no waiting. */
function ping(bus: Connection): Promise<unknown> {
  return bus.call({ ...manager, interface: 'org.freedesktop.DBus.Peer', member: 'Ping' })
}

async function cycles(bus: Connection, count: number, leaders: readonly number[]): Promise<void> {
  const lane = async (leader: number, index: number): Promise<void> => {
    const name = `cycle-${String(index)}`
    const body = [name, Buffer.alloc(0), 'stress', 'container', leader, '/']
    for (let done = index; done < count; done += leaders.length) {
      await bus.call({ ...manager, member: 'RegisterMachine', signature: 'sayssus', body })
      await unregister(bus, name)
    }
  }
  await Promise.all(leaders.map(lane))
}

async function unwanted(bus: Connection, count: number): Promise<void> {
  const pidfd = pidfdOpen(process.pid)
  const calls = [
    { ...manager, member: 'GetMachine', signature: 's', body: ['.host'] },
    { ...manager, member: 'GetMachine', signature: 'h', body: [pidfd] },
    { ...manager, member: 'Nonsense', signature: 'ah', body: [[pidfd]] },
    { ...manager, path: '/nowhere', member: 'GetMachine', signature: 's', body: ['x'] },
    { ...manager, member: 'RegisterMachineEx', signature: 'sa(sv)', body: ['a_b', []] }
  ]
  for (let done = 0; done < count; done++) {
    const { body, ...call } = calls[done % calls.length] as (typeof calls)[number]
    const fds = [dupFd(pidfd), dupFd(pidfd)]
    // What was sent is closed, so each message gets descriptors of its own.
    const own = body.map((value) => (value === pidfd ? fds[0] : Array.isArray(value) && value[0] ? [fds[0]] : value))
    bus.send({ ...call, type: 1, body: own, fds })
    if (done % batch === 0) await ping(bus)
  }
  await ping(bus)
}

async function registrations(bus: Connection, count: number, leader: number): Promise<void> {
  const pidfd = pidfdOpen(leader)
  const byFd = (...more: [string, Variant][]): unknown[] => [
    'by-fd',
    [['Class', new Variant('s', 'container')], ['LeaderPIDFD', new Variant('h', dupFd(pidfd))], ...more]
  ]
  const refused = [
    (): unknown[] => byFd(['LeaderPID', new Variant('u', process.pid)]),
    (): unknown[] => byFd(['LeaderPIDFDID', new Variant('t', 5n)]),
    (): unknown[] => byFd(['Nonsense', new Variant('s', '')]),
    (): unknown[] => byFd(['LeaderPIDFD', new Variant('h', openSync('/dev/null', 'r'))])
  ]
  for (let done = 0; done < count; done++) {
    await bus.call({ ...properties, body: byFd() })
    // Again the same leader under its name, and then under another.
    await bus.call({ ...properties, body: byFd() })
    await rejects(bus.call({ ...properties, body: ['other', byFd()[1]] }))
    await unregister(bus, 'by-fd')
    for (const body of refused) await rejects(bus.call({ ...properties, body: body() }))
  }
}

async function vanish(bus: Connection, count: number, leader: number): Promise<void> {
  for (let done = 0; done < count; done++) {
    const other = await Connection.open()
    const given: [string, Variant][] = [
      ['Class', new Variant('s', 'vm')],
      ['LeaderPIDFD', new Variant('h', pidfdOpen(leader))]
    ]
    other.send({ ...properties, type: 1, body: ['vanish', given], fds: [pidfdOpen(process.pid)] })
    await other.flush()
    other.close()
  }
  await ping(bus)
  // The daemon may have been quicker than the disconnect.
  await unregister(bus, 'vanish').catch(() => undefined)
}

async function create(bus: Connection, count: number, leader: number): Promise<void> {
  const name = `with-fds-${String(process.pid)}`
  const again = (): Promise<unknown> => {
    const given = [['PIDFDs', new Variant('ah', [pidfdOpen(leader), pidfdOpen(leader)])]]
    const body = [name, Buffer.alloc(0), 'stress', 'vm', leader, '', given]
    return bus.call({ ...manager, member: 'CreateMachine', signature: 'sayssusa(sv)', body })
  }
  await again()
  await unregister(bus, name)
  // The scope lives on with its process, so its name is taken.
  for (let done = 0; done < count; done++) await rejects(again())
}

const actions: Readonly<Record<string, (bus: Connection, count: number, leaders: readonly number[]) => Promise<void>>> =
  {
    cycles,
    unwanted,
    registrations: (bus, count, [leader = 0]) => registrations(bus, count, leader),
    vanish: (bus, count, [leader = 0]) => vanish(bus, count, leader),
    create: (bus, count, [leader = 0]) => create(bus, count, leader)
  }

const [action = '', count = '', ...leaders] = process.argv.slice(2)
const bus = await Connection.open()
try {
  await actions[action]?.(bus, Number(count), leaders.map(Number))
} finally {
  bus.close()
}

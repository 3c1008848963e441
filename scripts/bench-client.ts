import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Connection } from '../daemon/bus/connection.ts'
import { BenchConnection, type Request } from './bench-connection.ts'
import { measureVarlink, registerByVarlink } from './bench-varlink-client.ts'

// The client of `make bench`: runs inside the test host, beside the installed daemon, and prints its results as JSON.
//
//   bench-client register FIRST PID...    registers the machines bench-FIRST and on
//   bench-client unregister COUNT         unregisters bench-0 to bench-(COUNT - 1)
//   bench-client measure ROW              calls one method over and over
//   bench-client create COUNT             creates machines, all at once
//   bench-client run COUNT COMMAND...     runs a command so often; gives the median of its milliseconds
//   bench-client varlink-register PID...  registers the machines bench-0 and on over Varlink
//   bench-client varlink ROW COUNT PID... calls over Varlink, with COUNT machines; gives the median of microseconds

const manager = {
  destination: 'org.freedesktop.machine1',
  path: '/org/freedesktop/machine1',
  interface: 'org.freedesktop.machine1.Manager'
}
const inFlight = 32
const warmUpMs = 2000
const measureMs = 500
const machineSignature = 'sayssus'

/** One measured method: sequential latencies in microseconds, and calls per second with 32 in flight. */
export interface Measurement {
  p50: number
  p99: number
  perSecond: number
}

async function measure(row: string): Promise<Measurement> {
  const connection = await BenchConnection.open()
  try {
    const request = requestOf(row)
    await connection.sequential(request, warmUpMs / 2)
    await connection.pipelined(request, inFlight, warmUpMs / 2)
    const latencies = (await connection.sequential(request, measureMs)).sort((a, b) => a - b)
    const perSecond = await connection.pipelined(request, inFlight, measureMs)
    return { p50: percentile(latencies, 0.5), p99: percentile(latencies, 0.99), perSecond }
  } finally {
    connection.close()
  }
}

function requestOf(row: string): Request {
  const nothing = { signature: '', body: [] }
  switch (row) {
    case 'Ping':
      return { ...manager, interface: 'org.freedesktop.DBus.Peer', member: 'Ping', ...nothing }
    case 'GetMachine':
      return { ...manager, member: 'GetMachine', signature: 's', body: ['bench-0'] }
    case 'ListImages':
    case 'ListMachines':
      return { ...manager, member: row, ...nothing }
    case 'GetImageOSRelease':
      return { ...manager, member: row, signature: 's', body: ['bench-image'] }
    case 'GetMachineAddresses':
    case 'GetMachineOSRelease':
    case 'OpenMachinePTY':
      return { ...manager, member: row, signature: 's', body: ['bench'] }
    case 'GetAll':
      return getAll('Machine', 'machine/bench_2d0')
    case 'GetAll of an image':
      return getAll('Image', 'image/bench_2dimage')
    default:
      throw new Error(`There is no row ${row}`)
  }
}

function getAll(kind: string, path: string): Request {
  return {
    destination: manager.destination,
    path: `${manager.path}/${path}`,
    interface: 'org.freedesktop.DBus.Properties',
    member: 'GetAll',
    signature: 's',
    body: [`org.freedesktop.machine1.${kind}`]
  }
}

function percentile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? NaN
}

async function register(connection: Connection, first: number, leaders: readonly number[]): Promise<void> {
  for (const [index, leader] of leaders.entries()) {
    const body = [`bench-${first + index}`, Buffer.alloc(0), 'bench', 'container', leader, '']
    await connection.call({ ...manager, member: 'RegisterMachine', signature: machineSignature, body })
  }
}

async function unregister(connection: Connection, count: number): Promise<void> {
  for (let index = 0; index < count; index++) {
    const body = [`bench-${index}`]
    await connection.call({ ...manager, member: 'UnregisterMachine', signature: 's', body })
  }
}

/** Gives machines created per second, each with a scope of its own. They are gone again when this returns. */
async function create(connection: Connection, count: number): Promise<number> {
  const leaders = await Promise.all(Array.from({ length: count }, startLeader))
  try {
    const start = performance.now()
    await Promise.all(
      leaders.map(({ pid }, index) => {
        const body = [`bench-create-${index}`, Buffer.alloc(0), 'bench', 'container', pid, '', []]
        return connection.call({ ...manager, member: 'CreateMachine', signature: `${machineSignature}a(sv)`, body })
      })
    )
    return (count * 1000) / (performance.now() - start)
  } finally {
    for (const leader of leaders) leader.kill('SIGKILL')
    await waitForNone(connection)
  }
}

/** Gives the median of the milliseconds that a command takes. */
function runCommand(count: number, [file = '', ...args]: readonly string[]): number {
  const times = Array.from({ length: count }, () => {
    const start = performance.now()
    const { status } = spawnSync(file, args, { stdio: 'ignore' })
    if (status !== 0) throw new Error(`${file} failed`)
    return performance.now() - start
  })
  return percentile(
    times.sort((a, b) => a - b),
    0.5
  )
}

async function startLeader(): Promise<ChildProcess> {
  const leader = spawn('sleep', ['infinity'], { stdio: 'ignore' })
  await once(leader, 'spawn')
  return leader
}

async function waitForNone(connection: Connection): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const [machines] = (await connection.call({ ...manager, member: 'ListMachines' })).body as [[string][]]
    if (!machines.some(([name]) => name.startsWith('bench-create-'))) return
    await sleep(50)
  }
  throw new Error('Machines remain after their leaders have ended')
}

async function run(connection: Connection, action: string, args: readonly string[]): Promise<unknown> {
  const [first = ''] = args
  switch (action) {
    case 'register':
      return register(connection, Number(first), args.slice(1).map(Number))
    case 'unregister':
      return unregister(connection, Number(first))
    case 'measure':
      return measure(first)
    case 'create':
      return create(connection, Number(first))
    case 'run':
      return runCommand(Number(first), args.slice(1))
    case 'varlink-register':
      return registerByVarlink(args.map(Number))
    case 'varlink': {
      const latencies = await measureVarlink(first, Number(args[1]), args.slice(2).map(Number))
      return percentile(
        latencies.sort((a, b) => a - b),
        0.5
      )
    }
    default:
      throw new Error(`There is no action ${action}`)
  }
}

async function main([action = '', ...args]: readonly string[]): Promise<void> {
  const connection = await Connection.open()
  try {
    process.stdout.write(`${JSON.stringify((await run(connection, action, args)) ?? null)}\n`)
  } finally {
    connection.close()
  }
}

void main(process.argv.slice(2))

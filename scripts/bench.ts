import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { TestHost } from '../test/host/host.ts'
import type { RootName } from '../test/host/root.ts'
import type { Measurement } from './bench-client.ts'
import { measureCopies } from './bench-copies.ts'
import { measureImages } from './bench-images.ts'
import type { Bench, Daemon } from './bench-turns.ts'
import { measureOverVarlink } from './bench-varlink.ts'

// `make bench`: systemd's machined and ours on one disposable host, asked by one client. Times include the bus daemon and
// the client, which are the same for both. The two take turns several times, so that what else happens on this machine
// meanwhile meets both; the table shows medians. `make bench PART=varlink` measures only that part.

const daemons: readonly Daemon[] = ['stock', 'ours']

/** One line of the table; the values of each round in `unit`. */
interface Row {
  unit: string
  stock: number[]
  ours: number[]
}

const unit = 'systemd-machined.service'
// Beside the daemon, so that it finds ../daemon/bus and the packages.
const clientPath = '/usr/local/lib/machined/scripts/bench-client.cjs'
const node = 'node'
/** What is called with so many machines registered: the client's row and the table's name for it. */
const stages = [
  { machines: 0, calls: { Ping: 'Ping' } },
  { machines: 1, calls: { ListMachines: 'ListMachines, 1 machine' } },
  {
    machines: 100,
    calls: {
      GetMachine: 'GetMachine, 100 machines',
      GetAll: 'GetAll, 100 machines',
      ListMachines: 'ListMachines, 100 machines'
    }
  },
  { machines: 200, calls: {}, command: ['machinectl', 'list', '--no-legend'] },
  { machines: 1000, calls: { ListMachines: 'ListMachines, 1000 machines' } }
] as const
/** What is called of a container with users and a network of its own. */
const callsInside = ['GetMachineOSRelease', 'GetMachineAddresses', 'OpenMachinePTY']
const mostMachines = 1000
const rounds = 3
const createCount = 50
const commandCount = 9
const limitMs = 900_000

// Leaders outlive the change from stock to ours. Each has a unit of its own: systemd 257 allows one machine for each.
const leaderUnit = `[Service]
Type=exec
ExecStart=/bin/sleep infinity
`

async function startLeaders(host: TestHost): Promise<string[]> {
  await host.writeFile('/run/systemd/system/bench@.service', leaderUnit)
  await host.run(['systemctl', 'daemon-reload'])
  await host.run([
    'systemctl',
    'start',
    ...Array.from({ length: mostMachines }, (_, index) => `bench@${index}.service`)
  ])
  const { stdout } = await host.run(['systemctl', 'show', '--value', '--property=MainPID', 'bench@*.service'])
  return stdout.split('\n').filter((pid) => Number(pid) > 0)
}

async function client(host: TestHost, ...args: string[]): Promise<unknown> {
  return JSON.parse((await host.run([node, clientPath, ...args])).stdout)
}

async function property(host: TestHost, name: string): Promise<number> {
  return Number((await host.run(['systemctl', 'show', '--value', `--property=${name}`, unit])).stdout)
}

/** Gives the milliseconds from exec to READY=1. */
async function restart(host: TestHost): Promise<number> {
  // Also forgets the starts that the start limit counts.
  await host.run(['systemctl', 'reset-failed', unit])
  await host.run(['systemctl', 'restart', unit])
  const ready = await property(host, 'ActiveEnterTimestampMonotonic')
  return (ready - (await property(host, 'ExecMainStartTimestampMonotonic'))) / 1000
}

/** The daemon's resident memory in KiB. */
async function memory(host: TestHost): Promise<number> {
  const status = await host.readFile(`/proc/${await property(host, 'MainPID')}/status`)
  return Number(/^VmRSS:\s*(\d+) kB$/m.exec(status)?.[1])
}

/** The measured values of both daemons, row by row as they first came. */
class Table {
  readonly #rows = new Map<string, Row>()

  add(daemon: Daemon, name: string, unit: string, value: number): void {
    const row = this.#rows.get(name) ?? { unit, stock: [], ours: [] }
    row[daemon].push(value)
    this.#rows.set(name, row)
  }

  print(): void {
    const lines = [['', 'stock', 'ours', 'ours/stock', 'unit']]
    for (const [name, { unit, stock, ours }] of this.#rows) {
      const [a, b] = [median(stock), median(ours)]
      lines.push([name, round(a), round(b), (b / a).toFixed(2), unit])
    }
    for (const [name = '', a = '', b = '', ratio = '', unit = ''] of lines) {
      const columns = [name.padEnd(32), a.padStart(10), b.padStart(10), ratio.padStart(11), unit]
      process.stdout.write(`${columns.join(' ')}\n`)
    }
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN
}

function round(value: number): string {
  return value.toFixed(value < 100 ? 1 : 0)
}

/** Lets both daemons take turns. */
async function takeTurns(host: TestHost, turn: (daemon: Daemon) => Promise<void>): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (const daemon of daemons) {
      await (daemon === 'stock' ? host.useStock() : host.useOurs())
      await turn(daemon).catch((error: unknown) => {
        throw new Error(`${daemon}: ${String(error)}`, { cause: error })
      })
    }
  }
}

async function measure(host: TestHost, table: Table, daemon: Daemon, method: string, name: string): Promise<void> {
  const { p50, p99, perSecond } = (await client(host, 'measure', method)) as Measurement
  table.add(daemon, `${name}: p50`, 'us', p50)
  table.add(daemon, `${name}: p99`, 'us', p99)
  table.add(daemon, `${name}: 32 in flight`, 'calls/s', perSecond)
}

async function time(
  host: TestHost,
  table: Table,
  daemon: Daemon,
  command: readonly string[],
  machines: number
): Promise<void> {
  const ms = (await client(host, 'run', String(commandCount), ...command)) as number
  table.add(daemon, `${command.slice(0, 2).join(' ')}, ${machines} machines`, 'ms', ms)
}

async function measureAll(host: TestHost, leaders: readonly string[], table: Table): Promise<void> {
  let registered = 0
  for (const { machines, calls, ...stage } of stages) {
    await client(host, 'register', String(registered), ...leaders.slice(registered, machines))
    registered = machines
    await takeTurns(host, async (daemon) => {
      // Right after a start the daemon carries no garbage of calls before.
      if (machines === 0) table.add(daemon, 'Start to READY', 'ms', await restart(host))
      if (machines === 0) table.add(daemon, 'Resident, idle', 'KiB', await memory(host))
      if (machines === mostMachines) table.add(daemon, 'Start to READY, 1000 machines', 'ms', await restart(host))
      if (machines === mostMachines) table.add(daemon, 'Resident, 1000 machines', 'KiB', await memory(host))
      for (const [method, name] of Object.entries(calls)) await measure(host, table, daemon, method, name)
      if ('command' in stage) await time(host, table, daemon, stage.command, machines)
      if (machines === mostMachines) table.add(daemon, 'Resident after all calls', 'KiB', await memory(host))
    })
  }
  await client(host, 'unregister', String(registered))
  await takeTurns(host, async (daemon) => {
    const perSecond = (await client(host, 'create', String(createCount))) as number
    table.add(daemon, `CreateMachine, ${createCount} at once`, 'machines/s', perSecond)
  })
  await host.startContainer('bench', ['-U', '--network-veth'])
  await takeTurns(host, async (daemon) => {
    for (const method of callsInside) await measure(host, table, daemon, method, method)
  })
}

async function onDebian13(host: TestHost, table: Table): Promise<void> {
  process.stdout.write(`Starting ${mostMachines} leaders ...\n`)
  const leaders = await startLeaders(host)
  process.stdout.write('Measuring both in turn, for some minutes ...\n\n')
  await measureAll(host, leaders, table)
}

/** What the parts in files of their own need. */
function benchOn(host: TestHost, table: Table): Bench {
  return {
    client: (...args) => client(host, ...args),
    takeTurns: (turn) => takeTurns(host, turn),
    add: (daemon, name, unit, value) => {
      table.add(daemon, name, unit, value)
    }
  }
}

interface Part {
  readonly root: RootName
  readonly measure: (host: TestHost, table: Table) => Promise<void>
}

/** What is measured, each on a host of its own. */
const parts: Readonly<Record<string, Part>> = {
  debian13: { root: 'debian13', measure: onDebian13 },
  images: { root: 'debian13', measure: (host, table) => measureImages(host, benchOn(host, table)) },
  copies: { root: 'debian13', measure: (host, table) => measureCopies(host, benchOn(host, table)) },
  varlink: { root: 'testing', measure: (host, table) => measureOverVarlink(host, benchOn(host, table)) }
}

async function bench({ root, measure }: Part, table: Table): Promise<void> {
  process.stdout.write(`Booting a disposable host: ${root} ...\n`)
  const host = await TestHost.start({ root })
  const limit = setTimeout(() => {
    process.stderr.write(`Not done after ${limitMs / 1000} s\n`)
    void host.stop()
  }, limitMs)
  try {
    await host.writeFile(clientPath, readFileSync(join(import.meta.dirname, 'bench-client.cjs'), 'utf8'))
    await measure(host, table)
  } finally {
    clearTimeout(limit)
    await host.stop()
  }
}

const table = new Table()
try {
  const [only] = process.argv.slice(2)
  for (const [name, part] of Object.entries(parts)) if (only === undefined || only === name) await bench(part, table)
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
} finally {
  table.print()
}

import type { TestHost } from '../test/host/host.ts'
import type { Bench } from './bench-turns.ts'

/** The client's row, the table's name for it and its unit. */
const rows = [
  ['List', 'Varlink List of one, 100 machines', 'us'],
  ['Connect', 'Varlink connect, List of one', 'us'],
  ['ListAll', 'Varlink List with metadata, 100', 'ms'],
  ['Register', 'Varlink Register, Unregister', 'us']
] as const
const machineCount = 100
const spareCount = 50

/** Units whose processes are the machines. These have a network with an address, so that there is something to find. */
const leaderUnit = `[Service]
Type=exec
PrivateNetwork=yes
ExecStartPre=/bin/ip address add 192.0.2.7/24 dev lo
ExecStart=/bin/sleep infinity
`
/** Units whose processes become machines meanwhile. */
const spareUnit = `[Service]
Type=exec
ExecStart=/bin/sleep infinity
`

/** Asks both daemons over Varlink, on a host whose systemd is new enough to have all of it. */
export async function measureOverVarlink(host: TestHost, { client, takeTurns, add }: Bench): Promise<void> {
  const leaders = await startProcesses(host, 'bench@', leaderUnit, machineCount)
  const spare = await startProcesses(host, 'spare@', spareUnit, spareCount)
  await host.useOurs()
  await client('varlink-register', ...leaders)
  await takeTurns(async (daemon) => {
    for (const [row, name, unit] of rows) {
      const median = (await client('varlink', row, String(machineCount), ...spare)) as number
      add(daemon, name, unit, unit === 'ms' ? median / 1000 : median)
    }
  })
}

/** Starts so many instances of a template; gives their PIDs. */
async function startProcesses(host: TestHost, template: string, unit: string, count: number): Promise<string[]> {
  await host.writeFile(`/run/systemd/system/${template}.service`, unit)
  await host.run(['systemctl', 'daemon-reload'])
  const units = Array.from({ length: count }, (_, index) => `${template}${index}.service`)
  await host.run(['systemctl', 'start', ...units])
  const { stdout } = await host.run(['systemctl', 'show', '--value', '--property=MainPID', ...units])
  return stdout.split('\n').filter((pid) => Number(pid) > 0)
}

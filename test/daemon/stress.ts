import { build } from 'esbuild'
import { join } from 'node:path'
import type { TestHost } from '../host/host.ts'
import { projectDirectory } from '../host/root.ts'

// Beside the daemon, where it finds koffi.
const clientPath = '/usr/local/lib/machined/daemon/stress-client.js'
const unit = 'systemd-machined.service'

/** Puts stress-client.ts into a host; the function returned runs it there and rejects when it fails. */
export async function stressClient(host: TestHost): Promise<(...args: (string | number)[]) => Promise<void>> {
  const { outputFiles } = await build({
    entryPoints: [join(projectDirectory(), 'test/daemon/stress-client.ts')],
    bundle: true,
    write: false,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    logLevel: 'error',
    external: ['koffi', 'usocket', 'x11'],
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" }
  })
  await host.writeFile(clientPath, outputFiles[0]?.text ?? '')
  return async (...args) => {
    // Tap slips its loader into every child's environment, and the host has none.
    await host.run(['env', '-u', 'NODE_OPTIONS', '/usr/bin/node', clientPath, ...args.map(String)])
  }
}

/** Starts processes in units of their own, of which each can lead a machine. Returns their PIDs. */
export async function startLeaders(host: TestHost, count: number): Promise<string[]> {
  await host.writeFile('/run/systemd/system/leader@.service', '[Service]\nType=exec\nExecStart=sleep infinity\n')
  await host.run(['systemctl', 'daemon-reload'])
  const units = Array.from({ length: count }, (_, index) => `leader@${index}.service`)
  await host.run(['systemctl', 'start', ...units])
  const { stdout } = await host.run(['systemctl', 'show', '--value', '--property=MainPID', ...units])
  return stdout.split('\n').filter((pid) => Number(pid) > 0)
}

/** The PID of the daemon in the host; 0 when it does not run. */
export async function daemonPid(host: TestHost): Promise<number> {
  return Number((await host.run(['systemctl', 'show', '-P', 'MainPID', unit])).stdout)
}

/** How many descriptors the daemon has open. */
export async function openDescriptors(host: TestHost): Promise<number> {
  return (await host.run(['ls', `/proc/${await daemonPid(host)}/fd`])).stdout.split('\n').length
}

/** The protocols of the netlink(7) sockets that the daemon has open: 0 is for links and addresses, 12 for rules of packets. */
export async function netlinkProtocols(host: TestHost): Promise<string[]> {
  const pid = await daemonPid(host)
  const { stdout } = await host.run(['sh', '-c', `for fd in /proc/${pid}/fd/*; do readlink "$fd" || :; done`])
  const open = new Set(stdout.split('\n'))
  const { stdout: table } = await host.run(['cat', `/proc/${pid}/net/netlink`])
  const rows = table.split('\n').map((row) => row.trim().split(/\s+/))
  return rows.filter((row) => open.has(`socket:[${row.at(-1) ?? ''}]`)).map((row) => row[1] ?? '')
}

/** Of how many machines the daemon remembers os-release(5): it polls the mounts of each. */
export async function remembered(host: TestHost): Promise<number> {
  const descriptors = await host.run(['ls', '-l', `/proc/${await daemonPid(host)}/fd`])
  return descriptors.stdout.match(/ -> \/proc\/[0-9]+\/mountinfo$/gm)?.length ?? 0
}

/** How many threads the daemon has. */
export async function threadCount(host: TestHost): Promise<number> {
  return (await host.run(['ls', `/proc/${await daemonPid(host)}/task`])).stdout.split('\n').length
}

/** The daemon's resident memory in MiB. */
export async function residentMemory(host: TestHost): Promise<number> {
  const status = await host.readFile(`/proc/${await daemonPid(host)}/status`)
  return Number(/^VmRSS:\s*(\d+) kB$/m.exec(status)?.[1]) / 1024
}

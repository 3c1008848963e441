import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { TestHost } from '../test/host/host.ts'

const clientPath = '/usr/local/lib/machined/scripts/bench-network-client.cjs'
const node = '/usr/bin/node'
const unit = 'systemd-machined.service'
/** Where who answers in a container listens. */
export const port = 9000

/** Two containers, of which the second one can be asked. */
export interface Pair {
  /** What commands begin with that run in the network of the first one, and in that of the second one. */
  readonly enter: readonly string[]
  readonly enterSecond: readonly string[]
  /** The address of the second one. */
  readonly address: string
}

/** A disposable Debian 13 host with containers, and the client of these benchmarks (bench-network-client.ts) on it. */
export class NetworkHost {
  readonly host: TestHost

  private constructor(host: TestHost) {
    this.host = host
  }

  /** Boots one that has containers of these names, which ask for addresses. */
  static async start(containers: readonly string[]): Promise<NetworkHost> {
    const host = await TestHost.start()
    await host.writeFile(clientPath, readFileSync(join(import.meta.dirname, 'bench-network-client.cjs'), 'utf8'))
    await host.writeFile(`/run/systemd/system/${unit}.d/bench.conf`, '[Unit]\nStartLimitIntervalSec=0\n')
    await host.run(['systemctl', 'daemon-reload'])
    for (const name of containers) {
      const wants = `/run/test-host/containers/${name}/upper/etc/systemd/system/multi-user.target.wants`
      const enable = 'mkdir -p "$0" && ln -s /usr/lib/systemd/system/systemd-networkd.service "$0"'
      await host.run(['sh', '-ec', enable, wants])
    }
    return new NetworkHost(host)
  }

  /** Leaves networks to systemd-networkd. */
  async useNetworkd(): Promise<void> {
    await this.host.writeFile('/run/systemd/machined.conf.d/bench.conf', '[Network]\nManage=no\n')
    // It waits for udev else, which there is none of.
    await this.host.run(['mount', '-o', 'remount,bind,ro', '/sys'])
    await this.host.run(['systemctl', 'start', 'systemd-networkd.socket', 'systemd-networkd.service'])
    await this.host.run(['systemctl', 'restart', unit])
  }

  /** Replaces all forwards: those that were added are read anew when the daemon starts. The first one leads to `machine`. */
  async useForwards(machine: string, count: number): Promise<void> {
    const rows = Array.from({ length: count }, (_, index) => [machine, `tcp:${port + index}`, String(port)])
    await this.host.run(['systemctl', 'stop', unit])
    await this.host.writeFile('/run/machined/network/forwards.json', JSON.stringify(rows))
    await this.host.run(['systemctl', 'start', unit])
    const map = ['nft', 'list', 'map', 'inet', 'machined', 'free4_port']
    const has = (text: string, index: number): boolean => text.includes(`tcp . ${port + index} :`)
    const isApplied = async (): Promise<boolean> => {
      const { stdout } = await this.host.run(map, { reject: false })
      return !has(stdout, count) && (count === 0 || has(stdout, count - 1))
    }
    await this.host.waitFor(isApplied, 'the rules')
  }

  /** Starts two containers with a switch of systemd-nspawn(1). */
  async startPair(names: readonly [string, string], option: string): Promise<Pair> {
    for (const name of names) await this.host.startContainer(name, [option])
    for (const name of names) await this.host.waitFor(async () => (await this.#address(name)) !== '', 'addresses')
    const [enter, enterSecond] = [await this.#enter(names[0]), await this.#enter(names[1])]
    return { enter, enterSecond, address: await this.#address(names[1]) }
  }

  /** Has the second container answer, till what this gives is called. */
  async serve({ enterSecond }: Pair): Promise<() => Promise<void>> {
    const server = this.host.spawn([...enterSecond, node, clientPath, 'serve', String(port)])
    const listens = async (): Promise<boolean> =>
      (await this.host.run([...enterSecond, 'ss', '-Hltn', `sport = :${port}`])).stdout !== ''
    await this.host.waitFor(listens, 'the server')
    return async () => {
      server.kill('SIGKILL')
      await this.host.waitFor(async () => !(await listens()), 'the server to end')
    }
  }

  /** Runs the client, behind a command that runs it somewhere, and gives what it says. */
  async client(enter: readonly string[], ...args: string[]): Promise<unknown> {
    return JSON.parse((await this.host.run([...enter, node, clientPath, ...args])).stdout)
  }

  async #enter(name: string): Promise<string[]> {
    const { stdout } = await this.host.run(['machinectl', 'show', name, '--property=Leader', '--value'])
    return ['nsenter', '--net', '--target', stdout.trim(), '--']
  }

  async #address(name: string): Promise<string> {
    const look = ['ip', '-o', '-4', 'address', 'show', 'dev', 'host0', 'scope', 'global']
    const { stdout } = await this.host.run([...(await this.#enter(name)), ...look], { reject: false })
    return /inet ([\d.]+)\//.exec(stdout)?.[1] ?? ''
  }
}

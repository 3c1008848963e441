import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { TestHost } from '../test/host/host.ts'
import type { Times } from './bench-network-client.ts'

// `make bench-network`: what the network of machines costs, on a disposable Debian 13 host, with real traffic between
// network namespaces. Things that are compared take turns, so that what else happens on this machine meets both.

const clientPath = '/usr/local/lib/machined/scripts/bench-network-client.cjs'
const node = '/usr/bin/node'
const unit = 'systemd-machined.service'
const rounds = 3
const attachCount = 100
const changeCount = 100
const few = 10
const many = 10_000
const fewer = 1000
const port = 9000
const outside = `
ip netns add outside
ip link add up0 type veth peer name eth0 netns outside
ip link set up0 up
ip address add 192.0.2.1/24 dev up0
ip -n outside link set eth0 up
ip -n outside address add 192.0.2.2/24 dev eth0`

function print(name: string, value: number, what: string): void {
  process.stdout.write(`${name.padEnd(60)} ${value.toFixed(value < 10 ? 2 : 1).padStart(10)} ${what}\n`)
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN
}

/** A host with two containers, `a` and `b`, of which b answers at the port. */
class NetworkBench {
  readonly #host: TestHost

  constructor(host: TestHost) {
    this.#host = host
  }

  async prepare(): Promise<void> {
    await this.#host.writeFile(clientPath, readFileSync(join(import.meta.dirname, 'bench-network-client.cjs'), 'utf8'))
    await this.#host.writeFile(`/run/systemd/system/${unit}.d/bench.conf`, '[Unit]\nStartLimitIntervalSec=0\n')
    await this.#host.run(['systemctl', 'daemon-reload'])
    await this.#host.run(['sh', '-es'], { input: outside })
    for (const name of ['a', 'b']) {
      const wants = `/run/test-host/containers/${name}/upper/etc/systemd/system/multi-user.target.wants`
      const enable = 'mkdir -p "$0" && ln -s /usr/lib/systemd/system/systemd-networkd.service "$0"'
      await this.#host.run(['sh', '-ec', enable, wants])
    }
  }

  /** Registration with all that a network takes, beside two other machines. */
  async attach(): Promise<void> {
    await this.#boot(['--network-veth'])
    // The leaders are its children, and those of machines have to be in a unit.
    const inUnit = ['systemd-run', '-q', '--collect', '--pipe', '--wait']
    const { p50, p99 } = (await this.#client(inUnit, 'attach', String(attachCount), String(rounds))) as Times
    print('Register with a network: p50', p50, 'ms')
    print('Register with a network: p99', p99, 'ms')
  }

  /** A change of one forward beside many others. */
  async change(): Promise<void> {
    await this.#useForwards(fewer)
    const { p50, p99 } = (await this.#client([], 'forward', String(changeCount))) as Times
    print(`Change of a forward, ${fewer} others: p50`, p50, 'ms')
    print(`Change of a forward, ${fewer} others: p99`, p99, 'ms')
  }

  /** Connections from outside through a forward, of which each is looked up. */
  async lookUp(): Promise<void> {
    const times: Record<number, number[]> = {}
    for (let round = 0; round < rounds; round++) {
      for (const count of [few, many]) {
        await this.#useForwards(count)
        const enter = ['ip', 'netns', 'exec', 'outside']
        ;(times[count] ??= []).push((await this.#client(enter, 'connect', '192.0.2.1', String(port))) as number)
      }
    }
    const [one, other] = [median(times[few] ?? []), median(times[many] ?? [])]
    print(`Connection through one of ${few} forwards`, one, 'us')
    print(`Connection through one of ${many} forwards`, other, 'us')
    print('  ratio', other / one, '')
  }

  /** Between two containers: ours against those of systemd-nspawn and systemd-networkd, routed and at one bridge. */
  async compare(): Promise<void> {
    const kinds = {
      ours: '--network-veth',
      'networkd, routed': '--network-veth',
      'networkd, zone': '--network-zone=bench'
    }
    const rates: Record<string, number[]> = {}
    const waits: Record<string, number[]> = {}
    for (let round = 0; round < rounds; round++) {
      for (const [kind, option] of Object.entries(kinds)) {
        await this.#use(kind === 'ours')
        await this.#boot([option])
        const [address, enter] = [await this.#address('b'), await this.#enter('a')]
        ;(rates[kind] ??= []).push((await this.#client(enter, 'stream', address, String(port))) as number)
        ;(waits[kind] ??= []).push((await this.#client(enter, 'talk', address, String(port))) as number)
      }
    }
    for (const kind of Object.keys(kinds)) {
      print(`Between two containers, ${kind}: throughput`, median(rates[kind] ?? []), 'MB/s')
      print(`Between two containers, ${kind}: there and back`, median(waits[kind] ?? []), 'us')
      if (kind === 'ours') continue
      print(`  throughput, ours/${kind}`, median(rates['ours'] ?? []) / median(rates[kind] ?? []), '')
      print(`  speed of a round trip, ours/${kind}`, median(waits[kind] ?? []) / median(waits['ours'] ?? []), '')
    }
  }

  /** Lets the network be ours, or systemd-networkd's. */
  async #use(ours: boolean): Promise<void> {
    await this.#host.run(['systemctl', 'stop', 'test-container-a', 'test-container-b'], { reject: false })
    await this.#host.writeFile('/run/systemd/machined.conf.d/bench.conf', `[Network]\nManage=${ours ? 'yes' : 'no'}\n`)
    // systemd-networkd waits for udev else, which there is none of.
    if (!ours) await this.#host.run(['mount', '-o', 'remount,bind,ro', '/sys'])
    await this.#host.run(['systemctl', ours ? 'stop' : 'start', 'systemd-networkd.socket', 'systemd-networkd.service'])
    await this.#host.run(['systemctl', 'restart', unit])
  }

  async #boot(options: readonly string[]): Promise<void> {
    for (const name of ['a', 'b']) await this.#host.startContainer(name, options)
    for (const name of ['a', 'b']) await this.#host.waitFor(async () => (await this.#address(name)) !== '', 'addresses')
    this.#host.spawn([...(await this.#enter('b')), node, clientPath, 'serve', String(port)])
    const listens = async (): Promise<boolean> =>
      (await this.#host.run([...(await this.#enter('b')), 'ss', '-Hltn', `sport = :${port}`])).stdout !== ''
    await this.#host.waitFor(listens, 'the server')
  }

  /** Replaces all forwards: those that were added are read anew when the daemon starts. The first one leads to b. */
  async #useForwards(count: number): Promise<void> {
    const rows = Array.from({ length: count }, (_, index) => ['b', `tcp:${port + index}`, String(port)])
    await this.#host.run(['systemctl', 'stop', unit])
    await this.#host.writeFile('/run/machined/network/forwards.json', JSON.stringify(rows))
    await this.#host.run(['systemctl', 'start', unit])
    const map = ['nft', 'list', 'map', 'inet', 'machined', 'free4_port']
    const last = `tcp . ${port + count - 1} :`
    const isApplied = async (): Promise<boolean> => (await this.#host.run(map, { reject: false })).stdout.includes(last)
    await this.#host.waitFor(isApplied, 'the rules')
  }

  async #enter(name: string): Promise<string[]> {
    const { stdout } = await this.#host.run(['machinectl', 'show', name, '--property=Leader', '--value'])
    return ['nsenter', '--net', '--target', stdout.trim(), '--']
  }

  async #address(name: string): Promise<string> {
    const look = ['ip', '-o', '-4', 'address', 'show', 'dev', 'host0', 'scope', 'global']
    const { stdout } = await this.#host.run([...(await this.#enter(name)), ...look], { reject: false })
    return /inet ([\d.]+)\//.exec(stdout)?.[1] ?? ''
  }

  async #client(enter: readonly string[], ...args: string[]): Promise<unknown> {
    return JSON.parse((await this.#host.run([...enter, node, clientPath, ...args])).stdout)
  }
}

process.stdout.write('Booting a disposable Debian 13 host ...\n')
const host = await TestHost.start()
try {
  const bench = new NetworkBench(host)
  await bench.prepare()
  await bench.attach()
  await bench.change()
  await bench.lookUp()
  await bench.compare()
} finally {
  await host.stop()
}

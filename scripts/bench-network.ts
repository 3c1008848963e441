import type { Times } from './bench-network-client.ts'
import { NetworkHost, port, type Pair } from './bench-network-host.ts'

// `make bench-network`: what the network of machines costs, on disposable hosts, with real traffic between network
// namespaces. Things that are compared take turns, so that what else happens on this machine meets both.

const rounds = 3
const attachCount = 100
const changeCount = 100
const few = 10
const many = 10_000
const fewer = 1000
/** One is over in a second, and what else happens on this machine is seldom so short. */
const trafficRounds = 21
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

/** Registration with all that a network takes, beside two other machines. */
async function attach(ours: NetworkHost): Promise<void> {
  // The leaders are its children, and those of machines have to be in a unit.
  const inUnit = ['systemd-run', '-q', '--collect', '--pipe', '--wait']
  const { p50, p99 } = (await ours.client(inUnit, 'attach', String(attachCount), String(rounds))) as Times
  print('Register with a network: p50', p50, 'ms')
  print('Register with a network: p99', p99, 'ms')
}

/** A change of one forward beside many others. */
async function change(ours: NetworkHost): Promise<void> {
  await ours.useForwards('b', fewer)
  const { p50, p99 } = (await ours.client([], 'forward', String(changeCount))) as Times
  print(`Change of a forward, ${fewer} others: p50`, p50, 'ms')
  print(`Change of a forward, ${fewer} others: p99`, p99, 'ms')
}

/** Connections from outside through a forward, of which each is looked up. */
async function lookUp(ours: NetworkHost): Promise<void> {
  await ours.host.run(['sh', '-es'], { input: outside })
  const times: Record<number, number[]> = {}
  for (let round = 0; round < rounds; round++) {
    for (const count of [few, many]) {
      await ours.useForwards('b', count)
      const enter = ['ip', 'netns', 'exec', 'outside']
      ;(times[count] ??= []).push((await ours.client(enter, 'connect', '192.0.2.1', String(port))) as number)
    }
  }
  const [one, other] = [median(times[few] ?? []), median(times[many] ?? [])]
  print(`Connection through one of ${few} forwards`, one, 'us')
  print(`Connection through one of ${many} forwards`, other, 'us')
  print('  ratio', other / one, '')
}

/** Two containers, and what was measured between them. */
interface Traffic {
  readonly host: NetworkHost
  readonly pair: Pair
  readonly rates: number[]
  readonly waits: number[]
}

function trafficOf(host: NetworkHost, pair: Pair): Traffic {
  return { host, pair, rates: [], waits: [] }
}

/** Between two containers: ours against those of systemd-nspawn and systemd-networkd, routed and at one bridge. */
async function compare(ours: Traffic, others: Readonly<Record<string, Traffic>>): Promise<void> {
  for (let round = 0; round < trafficRounds; round++) {
    for (const { host, pair, rates, waits } of [ours, ...Object.values(others)]) {
      // A new one each time: where one runs, and what its memory looks like, makes a difference as long as it lives.
      const end = await host.serve(pair)
      rates.push((await host.client(pair.enter, 'stream', pair.address, String(port))) as number)
      waits.push((await host.client(pair.enter, 'talk', pair.address, String(port))) as number)
      await end()
    }
  }
  printTraffic('ours', ours)
  for (const [kind, { rates, waits }] of Object.entries(others)) {
    printTraffic(kind, { rates, waits })
    // Of values that were measured one after the other.
    const ratio = (values: number[], to: number[]): number => median(values.map((value, at) => value / (to[at] ?? NaN)))
    print(`  throughput, ours/${kind}`, ratio(ours.rates, rates), '')
    print(`  speed of a round trip, ours/${kind}`, ratio(waits, ours.waits), '')
  }
}

function printTraffic(kind: string, { rates, waits }: Pick<Traffic, 'rates' | 'waits'>): void {
  print(`Between two containers, ${kind}: throughput`, median(rates), 'MB/s')
  print(`Between two containers, ${kind}: there and back`, median(waits), 'us')
}

process.stdout.write('Booting two disposable Debian 13 hosts ...\n')
const ours = await NetworkHost.start(['a', 'b'])
const theirs = await NetworkHost.start(['a', 'b', 'c', 'd'])
try {
  const pair = await ours.startPair(['a', 'b'], '--network-veth')
  await attach(ours)
  await change(ours)
  const end = await ours.serve(pair)
  await lookUp(ours)
  await end()
  await ours.useForwards('b', 0)
  await theirs.useNetworkd()
  await compare(trafficOf(ours, pair), {
    'networkd, routed': trafficOf(theirs, await theirs.startPair(['a', 'b'], '--network-veth')),
    'networkd, zone': trafficOf(theirs, await theirs.startPair(['c', 'd'], '--network-zone=bench'))
  })
} finally {
  await ours.host.stop()
  await theirs.host.stop()
}

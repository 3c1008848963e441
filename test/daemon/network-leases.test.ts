import t, { type Test } from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'
import { killedAt, traced } from './daemon-trace.ts'
import { NetworkLeader } from './network-leader.ts'

// How leases get to the disk, and what is asked before an address is given away (networking.md 7.4).

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
const UNIT = 'systemd-machined.service'
const DIRECTORY = '/var/lib/machined/network'
const FILE = `${DIRECTORY}/machines0.json`
const [m1, m2] = [new NetworkLeader(host, client), new NetworkLeader(host, client, 'm2')]
await m1.prepare()
await m2.prepare()
await host.writeFile(`/run/systemd/system/${UNIT}.d/test.conf`, '[Unit]\nStartLimitIntervalSec=0\n')
await host.run(['systemctl', 'daemon-reload'])
await host.writeFile('/run/systemd/machined.conf.d/test.conf', '[Network]\nSubnet4=10.99.7.0/24\n')
await host.run(['systemctl', 'restart', UNIT])

/** The machine's addresses, of both families. */
async function addresses(leader: string): Promise<string[]> {
  const enter = ['nsenter', '--net', '--target', leader, '--']
  const text = await client.output(...enter, 'ip', '-o', 'address', 'show', 'dev', 'host0', 'scope', 'global')
  return Array.from(text.matchAll(/inet6? ([^/]+)/g), ([, address = '']) => address)
}

async function register(machine: NetworkLeader, t: Test): Promise<string[]> {
  const leader = await machine.start()
  t.equal((await machine.register(leader)).stderr, '')
  return addresses(leader)
}

/** Gives m1 the address with this last byte; gives the exit code. */
async function setLease(last: number): Promise<number> {
  return (await host.run(['machinedctl', 'network', 'set-lease', 'm1', `10.99.7.${last}`], { reject: false })).exitCode
}

t.test('a lease that was set is on the disk, under its name', async (t) => {
  await register(m1, t)
  const calls = ['-f', '-y', '-e', 'trace=fsync,rename,renameat,renameat2']
  const said = await traced(host, calls, async () => t.equal(await setLease(77), 0))
  const lines = said.split('\n').flatMap((line) => /(?:fsync|rename)\(.*$/.exec(line)?.[0] ?? [])
  const [first, second, third] = lines.filter((line) => line.includes(DIRECTORY)).slice(-3)
  t.match(first, /^fsync\(\d+<.*machines0\.json\.new>/)
  t.match(second, /^rename.*machines0\.json\.new", .*machines0\.json"/)
  t.match(third, new RegExp(`^fsync\\(\\d+<.*${DIRECTORY}>`))
})

t.test('a daemon that is killed meanwhile leaves the old leases or the new ones', async (t) => {
  for (const [index, kind] of ['write', 'fsync', 'rename', 'close'].entries()) {
    const killed = await killedAt(host, [kind, 1, '-f'], () => setLease(80 + index))
    t.ok(killed, kind)
    t.match(JSON.parse(await host.readFile(FILE)), { version: 1, leases: [{ name: 'm1' }] })
    t.equal(await setLease(90 + index), 0)
    t.match(await client.output('machinedctl', 'network', 'leases'), new RegExp(`^m1 +default +\\S+\\.9${index} `, 'm'))
  }
  t.strictSame((await client.output('ls', '-A', DIRECTORY)).split('\n'), ['.#machines0.json.lck', 'machines0.json'])
})

t.test('where the file is lost, the network stays that of the bridge', async (t) => {
  const pool = async (prefix: string): Promise<void> => {
    await host.run(['systemctl', 'stop', UNIT])
    await host.run(['rm', '-f', FILE])
    await host.writeFile('/run/systemd/machined.conf.d/test.conf', `[Network]\nPool4=${prefix}\n`)
    await host.run(['systemctl', 'start', UNIT])
  }
  await m1.end()
  await pool('10.50.7.0/24')
  const leader = await m1.start()
  t.equal((await m1.register(leader)).stderr, '')
  const before = await addresses(leader)
  t.match(before[0], /^10\.50\.7\./)
  await pool('10.60.0.0/16')
  const isKnown = async (): Promise<boolean> => (await client.output('machinedctl', 'network', 'leases')).includes('m1')
  await host.waitFor(isKnown, 'the daemon to know the machine')
  t.match(await client.output('machinedctl', 'network', 'status'), 'IPv4 subnet: 10.50.7.0/24')
  t.strictSame(await addresses(leader), before)
})

t.test('an address that somebody else at the bridge has is given to nobody', async (t) => {
  const wanted = await register(m2, t)
  const forget = async (): Promise<void> => {
    await m2.end()
    await host.run(['systemctl', 'stop', UNIT])
    await host.run(['rm', FILE])
    await host.run(['systemctl', 'start', UNIT])
  }
  for (const address of wanted) {
    await forget()
    const station = `
      ip netns add station
      ip link add st0 type veth peer name eth0 netns station
      ip link set st0 master machines0 up
      ip -n station link set eth0 up
      ip -n station address add ${address}/${address.includes(':') ? '64 nodad' : '24'} dev eth0`
    await host.run(['sh', '-ec', station])
    const isThere = async (): Promise<boolean> =>
      (await host.run(['ping', '-n', '-c', '1', '-W', '1', address], { reject: false })).exitCode === 0
    await host.waitFor(isThere, `${address} to answer`)
    const given = await register(m2, t)
    t.equal(given.length, 2)
    t.notOk(given.includes(address), address)
    t.match(await client.output('journalctl', '-u', UNIT, '-o', 'cat'), `Address ${address} is in use at`)
    await host.run(['ip', 'netns', 'delete', 'station'])
    const isGone = async (): Promise<boolean> =>
      (await host.run(['ip', 'link', 'show', 'st0'], { reject: false })).exitCode !== 0
    await host.waitFor(isGone, 'the station to be gone')
  }
  await forget()
  t.strictSame(await register(m2, t), wanted, 'and once it is gone, to the one whose it is')
})

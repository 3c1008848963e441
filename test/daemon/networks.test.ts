import t, { type Test } from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'

// A host without systemd-networkd: containers get a network from the daemon (issue 6, networking.md 7).

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
const UNIT = 'systemd-machined.service'

/** What plays the outside: another namespace that the host has its default route to, and that knows no route back. */
const OUTSIDE = `
ip netns add outside
ip link add up0 type veth peer name eth0 netns outside
ip link set up0 up
ip address add 192.0.2.1/24 dev up0
ip address add 2001:db8::1/64 dev up0 nodad
ip route add default via 192.0.2.2
ip route add default via 2001:db8::2
ip -n outside link set lo up
ip -n outside link set eth0 up
ip -n outside address add 192.0.2.2/24 dev eth0
ip -n outside address add 2001:db8::2/64 dev eth0 nodad
`

async function inside(name: string, ...argv: string[]): Promise<string> {
  return client.output('nsenter', '--net', '--target', await client.leader(name), '--', ...argv)
}

/** Whether a machine gets an answer from there. */
async function reaches(name: string, target: string): Promise<boolean> {
  const argv = [
    'nsenter',
    '--net',
    '--target',
    await client.leader(name),
    '--',
    'ping',
    '-n',
    '-c',
    '1',
    '-W',
    '2',
    target
  ]
  return (await host.run(argv, { reject: false })).exitCode === 0
}

/** The addresses that machines are reached by, of both families. */
async function addresses(name: string): Promise<[string, string]> {
  const text = await inside(name, 'ip', '-o', 'address', 'show', 'dev', 'host0', 'scope', 'global')
  return [/inet ([\d.]+)\//.exec(text)?.[1] ?? '', /inet6 ([\da-f:]+)\//.exec(text)?.[1] ?? '']
}

async function allReach(t: Test): Promise<void> {
  const [own4, own6] = await addresses('c2')
  for (const target of [own4, own6, '192.0.2.2', '2001:db8::2', '192.0.2.1', '2001:db8::1']) {
    t.ok(await reaches('c1', target), `c1 reaches ${target}`)
  }
}

await host.run(['sh', '-es'], { input: OUTSIDE })
// What the first process of the container finds is what counts.
const early = ['--network-veth', '--bind-ro=/usr/bin/ip', '--setenv=SYSTEMD_LOG_TARGET=console']
await host.startContainer('c1', early)
await host.startContainer('c2', ['-U', '--network-veth'])

t.test('containers have addresses of both families', async (t) => {
  for (const name of ['c1', 'c2']) {
    const [ip4, ip6] = await addresses(name)
    t.match(ip4, /^10\.(19[2-9]|2[01]\d|22[0-3])\./)
    t.match(ip6, /^fd/)
  }
  await allReach(t)
})

t.test('the host knows them by name', async (t) => {
  const [ip4] = await addresses('c1')
  t.match(await client.output('machinectl', 'list', '--no-legend'), ip4)
  t.match(await client.output('getent', 'ahosts', 'c1'), ip4)
  t.equal((await host.run(['ping', '-n', '-c', '1', '-W', '2', 'c1'], { reject: false })).exitCode, 0)
})

t.test('nothing is lost or changed when the daemon starts anew', async (t) => {
  const before = [await addresses('c1'), await addresses('c2')]
  await host.run(['systemctl', 'restart', UNIT])
  await allReach(t)
  t.strictSame([await addresses('c1'), await addresses('c2')], before)
})

t.test('after the last machine nothing is left', async (t) => {
  await host.run(['systemctl', 'stop', 'test-container-c1', 'test-container-c2'])
  const isClean = async (): Promise<boolean> => {
    const links = await client.output('ip', '-o', 'link')
    const tables = await client.output('nft', 'list', 'tables')
    return !links.includes('machines0') && !links.includes('ve-') && !tables.includes('machined')
  }
  await host.waitFor(isClean, 'the bridge and the rules to be gone')
  t.equal((await host.run(['ls', '/run/systemd/network'], { reject: false })).stdout, '')
})

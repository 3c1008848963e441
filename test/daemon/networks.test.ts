import t, { type Test } from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'
import { OUTSIDE } from './network-traffic.ts'

// A host without systemd-networkd: containers get a network from the daemon (issue 6, networking.md 7).

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
const UNIT = 'systemd-machined.service'

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

t.test('the host finds machines that have not asked for it before', async (t) => {
  await allReach(t)
  await host.run(['ip', 'neigh', 'flush', 'dev', 'machines0'])
  t.ok(await reaches('c1', '2001:db8::1'), 'when it answers with an address of another link')
})

t.test('nothing is lost or changed when the daemon starts anew', async (t) => {
  const before = [await addresses('c1'), await addresses('c2')]
  await host.run(['systemctl', 'restart', UNIT])
  await allReach(t)
  t.strictSame([await addresses('c1'), await addresses('c2')], before)
})

t.test('a name has the same addresses when its machine starts anew, also when the leases are lost', async (t) => {
  const before = [await addresses('c1'), await addresses('c2')]
  const leases = async (): Promise<string[]> =>
    (await client.output('machinedctl', 'network', 'leases')).split('\n').map((line) => line.replace(/ +/g, ' '))
  const known = (await leases()).map((line) => line.split(' ').slice(0, 3))
  await host.run(['systemctl', 'stop', UNIT])
  await host.run(['rm', '-r', '/var/lib/machined/network'])
  await host.run(['systemctl', 'stop', 'test-container-c2'])
  await host.run(['systemctl', 'start', UNIT])
  await host.startContainer('c2', ['-U', '--network-veth'])
  t.strictSame([await addresses('c1'), await addresses('c2')], before)
  t.strictSame((await leases()).map((line) => line.split(' ').slice(0, 3)).sort(), known.sort())
  await allReach(t)
})

/** What there is of ours in the kernel, but for what counts up. */
async function state(): Promise<string> {
  const rules = await client.output('nft', '--stateless', 'list', 'ruleset')
  const links = await client.output('sh', '-c', 'ip -o -d link; ip -o address; ip route; ip -6 route')
  return `${rules}\n${links.replace(/ (?:preferred_lft|valid_lft|expires|[a-z_]*timer) +\S+/g, '')}`
}

t.test('a daemon that is killed leaves the network as it is, and the next one finds it so', async (t) => {
  const before = await state()
  const pid = async (): Promise<string> => client.output('systemctl', 'show', UNIT, '--property=MainPID', '--value')
  const killed = await pid()
  await host.run(['systemctl', 'kill', '--signal=KILL', UNIT])
  t.ok(await reaches('c1', '192.0.2.2'), 'while none runs')
  await host.run(['systemctl', 'start', UNIT])
  t.not(await pid(), killed)
  await allReach(t)
  t.equal(await state(), before)
})

t.test('rules that somebody takes away come back', async (t) => {
  const script = `
    nft flush ruleset
    for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
      nft list table inet machined >/dev/null 2>&1 && exit
      sleep 0.1
    done
    exit 1`
  t.equal((await host.run(['sh', '-c', script], { reject: false })).exitCode, 0)
  await allReach(t)
})

t.test('a machine that takes the address of another reaches nobody', async (t) => {
  const [own4] = await addresses('c1')
  const [stolen] = await addresses('c2')
  const gateway = (await client.output('ip', '-4', '-o', 'address', 'show', 'dev', 'machines0')).split(/ +|\//)[3] ?? ''
  t.ok(await reaches('c1', gateway))
  await inside('c1', 'ip', 'address', 'add', `${stolen}/24`, 'dev', 'host0')
  const from = ['nsenter', '--net', '--target', await client.leader('c1'), '--', 'ping', '-n', '-c', '1', '-W', '1']
  t.not((await host.run([...from, '-I', stolen, gateway], { reject: false })).exitCode, 0, 'with its IP address')
  t.equal((await host.run([...from, '-I', own4, gateway], { reject: false })).exitCode, 0)
  await inside('c1', 'ip', 'address', 'delete', `${stolen}/24`, 'dev', 'host0')
  const mac = /ether (\S+)/.exec(await inside('c1', 'ip', 'link', 'show', 'dev', 'host0'))?.[1] ?? ''
  await inside('c1', 'ip', 'link', 'set', 'host0', 'address', '02:00:00:00:00:01')
  t.notOk(await reaches('c1', gateway), 'with another MAC address')
  await inside('c1', 'ip', 'link', 'set', 'host0', 'address', mac)
  await host.waitFor(() => reaches('c1', gateway), 'it to reach the host with its own')
})

t.test('the command line shows the network', async (t) => {
  const [own4, own6] = await addresses('c1')
  t.match(await client.output('machinedctl', 'network'), /^Bridge: machines0\nManaged: yes\nIPv4 subnet: 10\./)
  t.match(await client.output('machinedctl', 'network', 'leases'), new RegExp(`^c1 +${own4} +${own6} `, 'm'))
  t.equal(await client.output('machinedctl', 'network', 'cat-config'), '')
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

import t, { type Test } from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'
import { OUTSIDE, Peer, serve, SILENCE_MS } from './network-traffic.ts'
import { rulesSeen } from './rule-monitor.ts'

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
    t.match(ip4, /^(?:10\.(?:19[2-9]|2[01]\d|22[0-3])|172\.3[01]|192\.168)\./)
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
  const known = (await leases()).map((line) => line.split(' ').slice(0, 4))
  await host.run(['systemctl', 'stop', UNIT])
  await host.run(['rm', '-r', '/var/lib/machined/network'])
  await host.run(['systemctl', 'stop', 'test-container-c2'])
  await host.run(['systemctl', 'start', UNIT])
  await host.startContainer('c2', ['-U', '--network-veth'])
  t.strictSame([await addresses('c1'), await addresses('c2')], before)
  t.strictSame((await leases()).map((line) => line.split(' ').slice(0, 4)).sort(), known.sort())
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

t.test('rules are those for all machines from the first on when the daemon starts anew', async (t) => {
  const text = await rulesSeen(host, async (soFar) => {
    await host.run(['systemctl', 'restart', UNIT])
    await host.waitFor(() => /add table bridge machined[^]*# new generation/.test(soFar()), 'the rules to be made anew')
  })
  const generations = text.split(/^# new generation.*$/m).filter((part) => part.includes('add table bridge machined'))
  for (const part of generations) {
    for (const name of ['ve-c1', 've-c2']) t.match(part, `add element bridge machined ports { "${name}" }`)
  }
})

t.test('rules that somebody takes away come back, all or some', async (t) => {
  const script = `
    nft "$0"
    start=$(date +%s%N)
    for try in $(seq 1000); do
      nft list chain inet machined nat_postrouting 2>&1 | grep -q masquerade && nft list chain bridge machined check >/dev/null 2>&1 &&
        exec echo $(( ($(date +%s%N) - start) / 1000000 ))
      sleep 0.005
    done
    exit 1`
  for (const what of ['flush ruleset', 'flush chain inet machined nat_postrouting', 'delete table bridge machined']) {
    const { stdout, exitCode } = await host.run(['sh', '-c', script, what], { reject: false })
    t.equal(exitCode, 0, what)
    t.comment(`${what}: there again within ${stdout} ms`)
  }
  await allReach(t)
})

async function replies(enter: readonly string[], ...args: string[]): Promise<boolean> {
  return (await host.run([...enter, 'ping', '-n', '-c', '1', '-W', '1', ...args], { reject: false })).exitCode === 0
}

async function macOf(name: string): Promise<string> {
  return /ether (\S+)/.exec(await inside(name, 'ip', 'link', 'show', 'dev', 'host0'))?.[1] ?? ''
}

t.test('a machine that takes the address of another is nobody to anybody', async (t) => {
  const [enter1, enter2] = await Promise.all(
    ['c1', 'c2'].map(async (name) => ['nsenter', '--net', '--target', await client.leader(name), '--'])
  )
  const mac = await macOf('c1')
  const shown = await client.output('ip', '-o', 'address', 'show', 'dev', 'machines0', 'scope', 'global')
  const gateways = Array.from(shown.matchAll(/inet6? ([^/]+)/g), ([, address = '']) => address)
  const [own, others] = [await addresses('c1'), await addresses('c2')]
  for (const [index, gateway] of gateways.entries()) {
    const [mine, stolen] = [own[index] ?? '', others[index] ?? '']
    const options = gateway.includes(':') ? ['nodad'] : []
    const change = (verb: string, address: string): Promise<string> =>
      inside('c1', 'ip', 'address', verb, address, 'dev', 'host0', ...(verb === 'add' ? options : []))
    await change('add', stolen)
    t.ok(await replies(enter1 ?? [], '-I', mine, gateway), `from ${mine}`)
    t.notOk(await replies(enter1 ?? [], '-I', stolen, gateway), `from ${stolen}`)
    await host.run(['ip', 'link', 'set', 've-c2', 'down'])
    await host.run(['ip', 'neigh', 'flush', 'dev', 'machines0'])
    t.notOk(await replies([], stolen), `${stolen} is nobody's while its owner is away`)
    t.notMatch(await client.output('ip', 'neigh', 'show', stolen), mac)
    await host.run(['ip', 'link', 'set', 've-c2', 'up'])
    await change('delete', stolen)
    await change('add', gateway)
    await inside('c2', 'ip', 'neigh', 'flush', 'dev', 'host0')
    await host.waitFor(() => replies(enter2 ?? [], gateway), 'c2 to be back')
    t.notMatch(await inside('c2', 'ip', 'neigh'), mac, `${gateway} is the host's`)
    await change('delete', gateway)
  }
})

t.test('a machine that takes the MAC address of another reaches nobody, and gets nothing of theirs', async (t) => {
  const mac = await macOf('c1')
  for (const taken of ['02:00:00:00:00:01', await macOf('c2')]) {
    await inside('c1', 'ip', 'link', 'set', 'host0', 'address', taken)
    t.notOk(await reaches('c1', '192.0.2.1'), taken)
    t.notOk(await reaches('c1', '2001:db8::1'), taken)
    t.ok(await reaches('c2', '192.0.2.2'), 'what is for another goes to it')
  }
  await inside('c1', 'ip', 'link', 'set', 'host0', 'address', mac)
  await host.waitFor(() => reaches('c1', '192.0.2.2'), 'it to reach the host with its own')
})

async function configure(text: string): Promise<void> {
  await host.writeFile('/run/systemd/machined.conf.d/test.conf', `[Network]\n${text}\n`)
  await host.run(['systemctl', 'restart', UNIT])
}

/** In the end c1 gets no answer from there: a daemon that starts is up before all is as it is configured. */
async function loses(t: Test, target: string, why: string): Promise<void> {
  await host.waitFor(async () => !(await reaches('c1', target)), `c1 not to reach ${target} with ${why}`)
  t.pass(`${target} with ${why}`)
}

t.test('machines reach each other and the host as far as is configured', async (t) => {
  await serve(host, [], 71)
  const peer = new Peer(host, ['nsenter', '--net', '--target', await client.leader('c1'), '--'])
  const others = await addresses('c2')
  await configure('Isolation=ports\nHostAccess=services')
  for (const address of others) await loses(t, address, 'Isolation=ports')
  for (const address of ['192.0.2.2', '2001:db8::2', '192.0.2.1']) t.ok(await reaches('c1', address), address)
  t.equal(
    await peer.ask('192.0.2.1:71', 'tcp', SILENCE_MS),
    undefined,
    'a service of the host with HostAccess=services'
  )
  await configure('HostAccess=no')
  for (const address of ['192.0.2.1', '2001:db8::1']) await loses(t, address, 'HostAccess=no')
  for (const address of others) t.ok(await reaches('c1', address), `${address} without isolation`)
  await host.run(['rm', '/run/systemd/machined.conf.d/test.conf'])
  await host.run(['systemctl', 'restart', UNIT])
  t.ok(await peer.ask('192.0.2.1:71'))
})

t.test('the host may have another address in the network, also while machines run', async (t) => {
  const [before, others] = [await addresses('c1'), await addresses('c2')]
  for (const [value, last] of Object.entries({ last: ['.254', '::fe'], first: ['.1', '::1'] })) {
    await configure(`Gateway=${value}`)
    const routes = (): Promise<string> => inside('c1', 'sh', '-c', 'ip route show default; ip -6 route show default')
    const isChanged = async (): Promise<boolean> => {
      const found = await routes()
      return last.every((end) => found.includes(`${end} dev host0`))
    }
    await host.waitFor(isChanged, `the way out to be that of Gateway=${value}`)
    t.strictSame([await addresses('c1'), await addresses('c2')], [before, others])
    await allReach(t)
  }
  await host.run(['rm', '/run/systemd/machined.conf.d/test.conf'])
  await host.run(['systemctl', 'restart', UNIT])
})

t.test('the command line shows the network', async (t) => {
  const [own4, own6] = await addresses('c1')
  t.match(
    await client.output('machinedctl', 'network'),
    /^Network: default\nBridge: machines0\nBackend: builtin\nManaged: yes\n.*\nIPv4 subnet: \d/
  )
  t.match(await client.output('machinedctl', 'network', 'leases'), new RegExp(`^c1 +default +${own4} +${own6} `, 'm'))
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

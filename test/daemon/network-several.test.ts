import t, { type Test } from 'tap'
import { shortenInterfaceName } from '../../daemon/network/network-name.ts'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'
import { NetworkLeader } from './network-leader.ts'
import { ENTER_OUTSIDE, OUTSIDE, Peer, serve, SILENCE_MS } from './network-traffic.ts'

// Several networks on one host: each with a file of its own, and nothing goes from one to another (networking.md 7.2, 7.6).

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
const UNIT = 'systemd-machined.service'
const LONG = 'a-network-with-a-long-name'
const LONG_BRIDGE = shortenInterfaceName(`mn-${LONG}`)

/** The machines, in their networks: two in `blue`. */
const networks: Readonly<Record<string, string | undefined>> = { m1: undefined, m2: 'blue', m3: 'blue', m4: LONG }
const names = Object.keys(networks)
const machines = new Map([...names, 'm5'].map((name) => [name, new NetworkLeader(host, client, name)]))
const leaders = new Map<string, string>()
const peers = new Map<string, Peer>()

function enter(name: string): string[] {
  return ['nsenter', '--net', '--target', leaders.get(name) ?? '', '--']
}

async function start(name: string): Promise<string> {
  const machine = machines.get(name)
  const leader = (await machine?.start()) ?? ''
  leaders.set(name, leader)
  return (await machine?.register(leader))?.stderr ?? ''
}

function ask(
  name: string,
  target: string,
  withinMs?: number,
  protocol: 'tcp' | 'udp' = 'tcp'
): Promise<string | undefined> | undefined {
  return peers.get(name)?.ask(target, protocol, withinMs)
}

/** A machine's addresses, of both families. */
async function addresses(name: string): Promise<[string, string]> {
  const text = await client.output(...enter(name), 'ip', '-o', 'address', 'show', 'dev', 'host0', 'scope', 'global')
  return [/inet ([\d.]+)\//.exec(text)?.[1] ?? '', /inet6 ([\da-f:]+)\//.exec(text)?.[1] ?? '']
}

/** Whether a machine gets answers from another one at both of its addresses; undefined when that differs. */
async function reaches(from: string, to: string, withinMs?: number): Promise<boolean | undefined> {
  const [ip4, ip6] = await addresses(to)
  const [own4, own6] = await addresses(from)
  const answers = await Promise.all([ask(from, `${ip4}:80`, withinMs), ask(from, `[${ip6}]:80`, withinMs)])
  if (answers.every((answer) => answer === undefined)) return false
  return answers[0] === `${own4} 80` && answers[1] === `${own6} 80` ? true : undefined
}

async function configure(files: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, text] of Object.entries(files)) await host.writeFile(`/etc/machined/networks/${name}.conf`, text)
}

/** What there is on the host, but for what counts up. */
async function state(): Promise<string> {
  const script =
    'nft --stateless list ruleset; ip -o -d link; ip -o address; ip route; ip -6 route; cat /run/sysctl.d/*'
  const text = await client.output('sh', '-c', script)
  return text.replace(/ (?:preferred_lft|valid_lft|expires|[a-z_]*timer) +\S+/g, '')
}

interface Description {
  networks: { name: string; bridge: string; subnet4?: string; subnet6?: string; machines: string[]; files: string[] }[]
}

async function describe(): Promise<Description['networks']> {
  const argv = ['busctl', '-j', 'call', 'org.freedesktop.machine1', '/org/freedesktop/machine1', 'io.machined.Network']
  const { data } = JSON.parse(await client.output(...argv, 'Describe')) as { data: [string] }
  return (JSON.parse(data[0]) as Description).networks
}

await host.run(['sh', '-es'], { input: OUTSIDE })
await host.run(['iptables', '-N', 'DOCKER-USER'])
await configure({ blue: '[Network]\nMTU=1400\n', [LONG]: '[Network]\nMTU=1300\n' })
for (const [name, network] of Object.entries(networks)) {
  await machines.get(name)?.prepare()
  const own = network === undefined ? '' : `[Network]\nNetwork=${network}\n`
  const port = `${name.slice(1)}080`
  const text = `${own}[Forward]\nListen=${port}\nTarget=80\n[Forward]\nListen=udp:${port}\nTarget=80\n`
  await host.writeFile(`/etc/machined/machines/${name}.conf`, text)
}
for (const name of names) {
  await start(name)
  peers.set(name, new Peer(host, enter(name)))
  await serve(host, enter(name), 80)
}
const outside = new Peer(host, ENTER_OUTSIDE)
const local = new Peer(host, [])

t.test('each network has a bridge and subnets of its own', async (t) => {
  const found = await describe()
  t.strictSame(
    found.map(({ name, bridge, machines }) => [name, bridge, machines]),
    [
      ['default', 'machines0', ['m1']],
      [LONG, LONG_BRIDGE, ['m4']],
      ['blue', 'mn-blue', ['m2', 'm3']]
    ]
  )
  for (const key of ['subnet4', 'subnet6'] as const) t.equal(new Set(found.map((network) => network[key])).size, 3, key)
  t.match(found[1], { files: [`/etc/machined/networks/${LONG}.conf`] })
  t.match(await client.output('ip', '-o', 'link', 'show', 'dev', 'mn-blue'), 'mtu 1400')
  t.match(await client.output('ip', '-o', 'link', 'show', 'dev', `mn-${LONG}`), LONG_BRIDGE, 'by its full name')
  for (const [name, bridge] of Object.entries({ m1: 'machines0', m2: 'mn-blue', m3: 'mn-blue', m4: LONG_BRIDGE })) {
    t.match(await client.output('ip', '-o', 'link', 'show', 'dev', `ve-${name}`), `master ${bridge} `)
  }
})

t.test('names that are too long for an interface are cut as systemd-nspawn cuts them', async (t) => {
  const name = 'a-machine-with-a-long-name'
  await host.startContainer(name, ['--network-veth'])
  const links = await client.output('ip', '-o', 'link')
  t.match(links, ` ${shortenInterfaceName(`ve-${name}`)}@`)
  await host.run(['systemctl', 'stop', `test-container-${name}`])
})

t.test('machines reach those of their own network, the outside, and nobody else', async (t) => {
  t.ok(await reaches('m2', 'm3'))
  t.ok(await reaches('m3', 'm2'))
  await serve(host, ENTER_OUTSIDE, 80)
  for (const name of names) {
    t.equal(await ask(name, '192.0.2.2:80'), '192.0.2.1 80', `${name} by an address of the host`)
    t.equal(await ask(name, '[2001:db8::2]:80'), '2001:db8::1 80')
  }
  const pairs = [
    ['m1', 'm2'],
    ['m2', 'm1'],
    ['m2', 'm4'],
    ['m4', 'm1']
  ] as const
  await Promise.all(
    pairs.map(async ([from, to]) => {
      t.equal(await reaches(from, to, SILENCE_MS), false, `${from} to ${to}`)
    })
  )
})

t.test('ports of the host lead into machines of all networks, for everybody', async (t) => {
  for (const name of names) {
    const port = `${name.slice(1)}080`
    t.equal(await outside.ask(`192.0.2.1:${port}`), '192.0.2.2 80', `from outside to ${name}`)
    t.equal(await outside.ask(`[2001:db8::1]:${port}`), '2001:db8::2 80')
    t.equal(await outside.ask(`192.0.2.1:${port}`, 'udp'), '192.0.2.2 80')
    for (const address of ['127.0.0.1', '[::1]', '192.0.2.1']) t.match(await local.ask(`${address}:${port}`), / 80$/)
  }
  for (const [from, to] of [
    ['m1', 'm2'],
    ['m2', 'm4'],
    ['m4', 'm1']
  ] as const) {
    const [own4, own6] = await addresses(from)
    const port = `${to.slice(1)}080`
    t.equal(await ask(from, `192.0.2.1:${port}`), `${own4} 80`, `from ${from} to ${to}, with its address`)
    t.equal(await ask(from, `[2001:db8::1]:${port}`), `${own6} 80`)
    t.equal(await ask(from, `192.0.2.1:${port}`, undefined, 'udp'), `${own4} 80`)
  }
  const [{ subnet4 = '' } = {}] = (await describe()).filter(({ name }) => name === 'blue')
  const gateway = subnet4.replace(/\.\d+\/\d+$/, '.1')
  t.equal(await ask('m2', '192.0.2.1:3080'), `${gateway} 80`, 'within a network answers come back through the host')
  t.equal(await ask('m2', '192.0.2.1:2080'), `${gateway} 80`, 'as those of a machine to itself')
})

t.test('a port leads to one machine, whatever the networks', async (t) => {
  const argv = ['machinedctl', 'network', 'forward', 'add']
  const { stderr } = await host.run([...argv, 'm4', '2080'], { reject: false })
  t.match(stderr, "Port tcp:2080 is forwarded to machine 'm2' already")
})

t.test('other firewalls are told of all bridges', async (t) => {
  const chain = await client.output('iptables', '-S', 'DOCKER-USER')
  for (const bridge of ['machines0', 'mn-blue', LONG_BRIDGE]) {
    t.match(chain, `-i ${bridge} `)
    t.match(chain, `-o ${bridge} `)
  }
})

t.test('the command line shows all networks', async (t) => {
  const list = await client.output('machinedctl', 'network', 'list')
  t.match(list, /^default +machines0 .* 1$/m)
  t.match(list, /^blue +mn-blue .* 2$/m)
  t.match(await client.output('machinedctl', 'network', 'status', 'blue'), /^Network: blue\nBridge: mn-blue\n[^]*m2 m3/)
  const { stderr } = await host.run(['machinedctl', 'network', 'status', 'red'], { reject: false })
  t.equal(stderr, "Network 'red' is not configured.")
  const [ip4] = await addresses('m4')
  t.match(await client.output('machinedctl', 'network', 'leases'), new RegExp(`^m4 +${LONG} +${ip4} `, 'm'))
  t.match(await client.output('machinedctl', 'network', 'cat-config'), '# /etc/machined/networks/blue.conf\n[Network]')
})

async function restart(): Promise<void> {
  await host.run(['systemctl', 'restart', UNIT])
  await host.waitFor(async () => (await describe()).flatMap(({ machines }) => machines).length === names.length, 'all')
}

t.test('a daemon that is killed leaves all networks as they are, and the next one finds them so', async (t) => {
  const before = await state()
  await host.run(['systemctl', 'kill', '--signal=KILL', UNIT])
  t.ok(await reaches('m2', 'm3'), 'while none runs')
  await host.run(['systemctl', 'start', UNIT])
  await host.waitFor(async () => (await state()) === before, 'all to be as it was').catch(() => undefined)
  t.equal(await state(), before)
})

t.test('a running machine stays where it is when its configuration or that of its network is gone', async (t) => {
  const before = await addresses('m4')
  await host.run(['mv', `/etc/machined/networks/${LONG}.conf`, '/run/machined/kept.conf'])
  await host.writeFile('/etc/machined/machines/m2.conf', '[Forward]\nListen=2080\nTarget=80\n')
  await restart()
  t.match(await client.output('ip', '-o', 'link', 'show', 'dev', 've-m4'), `master ${LONG_BRIDGE} `)
  t.equal((await addresses('m4'))[0], before[0])
  t.match(await client.output('ip', '-o', 'link', 'show', 'dev', 've-m2'), 'master mn-blue ')
  t.ok(await reaches('m2', 'm3'))
  await host.run(['mv', '/run/machined/kept.conf', `/etc/machined/networks/${LONG}.conf`])
  await host.writeFile('/etc/machined/machines/m2.conf', '[Network]\nNetwork=blue\n')
  await restart()
  t.strictSame(await addresses('m4'), before)
})

t.test('Isolation=none lets networks reach each other if both say so', async (t) => {
  await configure({ blue: '[Network]\nIsolation=none\n' })
  await restart()
  t.equal(await reaches('m2', 'm1', SILENCE_MS), false, 'while the other does not')
  await host.writeFile('/run/systemd/machined.conf.d/test.conf', '[Network]\nIsolation=none\n')
  await configure({ [LONG]: '[Network]\nIsolation=network\n' })
  await restart()
  await host.waitFor(async () => (await reaches('m2', 'm1', SILENCE_MS)) === true, 'm2 to reach m1')
  t.ok(await reaches('m1', 'm2'), 'with its own address')
  t.equal(await reaches('m4', 'm1', SILENCE_MS), false, 'Isolation=network')
  await host.run(['rm', '/run/systemd/machined.conf.d/test.conf'])
  await configure({ blue: '[Network]\nIsolation=ports\n' })
  await restart()
  await host.waitFor(async () => (await reaches('m2', 'm3', SILENCE_MS)) === false, 'm2 not to reach m3')
})

t.test('HostAccess= and AntiSpoof= are those of each network', async (t) => {
  await serve(host, [], 71)
  await configure({ blue: '[Network]\nHostAccess=no\nAntiSpoof=no\n' })
  await restart()
  await host.waitFor(
    async () => (await ask('m2', '192.0.2.1:71', SILENCE_MS)) === undefined,
    'm2 not to reach the host'
  )
  t.match(await ask('m1', '192.0.2.1:71'), / 71$/)
  const guarded = await client.output('nft', 'list', 'set', 'bridge', 'machined', 'ports')
  for (const name of ['ve-m1', 've-m4']) t.match(guarded, `"${name}"`)
  for (const name of ['ve-m2', 've-m3']) t.notMatch(guarded, `"${name}"`)
  await configure({ blue: '[Network]\n' })
  await restart()
})

async function log(): Promise<string> {
  return client.output('journalctl', '-u', UNIT, '-o', 'cat')
}

async function end(name: string): Promise<void> {
  await machines.get(name)?.end()
}

/** Starts one that gets no network. */
async function goesWithout(t: Test, refused: boolean): Promise<void> {
  const stderr = await start('m5')
  t.equal(stderr !== '', refused, 'whether the machine is refused')
  t.strictSame(await addresses('m5'), ['', ''])
  await end('m5')
}

t.test('a machine of a network that is not configured has none', async (t) => {
  await machines.get('m5')?.prepare()
  await host.writeFile('/etc/machined/machines/m5.conf', '[Network]\nNetwork=red\n')
  await goesWithout(t, false)
  t.match(await log(), "Network 'red' is not configured")
  await host.writeFile('/run/systemd/machined.conf.d/test.conf', '[Network]\nRequireNetwork=yes\n')
  await host.run(['systemctl', 'restart', UNIT])
  await goesWithout(t, true)
  await configure({ red: '[Network]\n' })
  t.equal(await start('m5'), '', 'until it is')
  t.match(await client.output('ip', '-o', 'link', 'show', 'dev', 've-m5'), 'master mn-red ')
  await end('m5')
})

t.test('a network whose subnet another one has comes to nothing', async (t) => {
  const { subnet4 = '' } = (await describe()).find(({ name }) => name === 'blue') ?? {}
  await configure({ red: `[Network]\nSubnet4=${subnet4.replace('.0/24', '.128/25')}\n` })
  await host.waitFor(async () => !(await client.output('ip', '-o', 'link')).includes('mn-red'), 'the bridge to be gone')
  await goesWithout(t, true)
  t.match(await log(), /Subnet \S+\.128\/25 is that of another network of machines/)
  await host.run(['rm', '/run/systemd/machined.conf.d/test.conf'])
})

t.test(
  'the bridge of a network goes soon after its last machine, and all of it after the last one of all',
  async (t) => {
    const links = (): Promise<string> => client.output('ip', '-o', 'link')
    for (const name of ['m1', 'm2', 'm3']) await end(name)
    await host.waitFor(async () => !(await links()).includes('mn-blue'), 'the bridge to be gone')
    t.match(await links(), LONG_BRIDGE)
    const rest = 'nft list ruleset; iptables -S; cat /run/sysctl.d/60-machined.conf'
    await host.waitFor(async () => !(await client.output('sh', '-c', rest)).includes('mn-blue'), 'all else to be gone')
    t.match(await client.output('nft', 'list', 'ruleset'), LONG_BRIDGE)
    await host.run(['systemctl', 'stop', UNIT])
    await host.run(['systemctl', 'stop', 'leader-m4.service'])
    await host.run(['systemctl', 'start', UNIT])
    await host.waitFor(async () => !(await links()).includes('mn-'), 'what a killed daemon has left to be gone')
    t.equal(await client.output('nft', 'list', 'tables'), 'table ip filter')
  }
)

t.test('no network takes a subnet that another one had, while there are others', async (t) => {
  await host.run(['systemctl', 'stop', UNIT])
  await host.run(['rm', '-r', '/var/lib/machined/network'])
  await host.writeFile('/run/systemd/machined.conf.d/test.conf', '[Network]\nPool4=10.50.0.0/23\n')
  await host.run(['systemctl', 'start', UNIT])
  await configure({ red: '[Network]\n', green: '[Network]\n' })
  const found: string[] = []
  for (const network of ['red', 'green', 'default']) {
    await host.writeFile('/etc/machined/machines/m5.conf', `[Network]\nNetwork=${network}\n`)
    await start('m5')
    found.push((await addresses('m5'))[0].replace(/\.\d+$/, ''))
    await end('m5')
    // Leases are on their way to the disk for a moment.
    const bridge = network === 'default' ? 'machines0' : `mn-${network}`
    const isKept = async (): Promise<boolean> =>
      network === 'default' ||
      (await host.run(['test', '-e', `/var/lib/machined/network/${bridge}.json`], { reject: false })).exitCode === 0
    await host.waitFor(isKept, 'the lease to be kept')
  }
  t.strictSame(found.toSorted(), ['', '10.50.0', '10.50.1'])
  t.equal(found[2], '', 'the third one')
  t.match(await log(), 'No subnet of Pool4= is free')
})

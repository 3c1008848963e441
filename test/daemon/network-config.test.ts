import t, { type Test } from 'tap'
import { TestHost, type RunResult } from '../host/host.ts'
import { Client } from './client.ts'
import { NetworkLeader } from './network-leader.ts'

// What each key of [Network] and [Firewall] in machined.conf does (networking.md 7.2); networks.test.ts has Isolation=
// and HostAccess=, network-hands-off.test.ts Manage=.

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
const machine = new NetworkLeader(host, client)
await machine.prepare()
const UNIT = 'systemd-machined.service'
const DROP_IN = '/run/systemd/machined.conf.d/test.conf'

/** Something to be seen from the outside of a host with a network. */
interface Found {
  readonly registered: RunResult
  /** `ip` says this of the bridge, and in the machine. */
  readonly bridge: string
  readonly inside: string
  readonly rules: string
}

/** Starts the daemon with this configuration and no leases of before, and registers the machine; what there is then. */
async function found(config: string, bridge = 'machines0'): Promise<Found> {
  await host.writeFile(DROP_IN, config)
  await host.run(['systemctl', 'stop', UNIT])
  await host.run(['rm', '-rf', '/var/lib/machined/network'])
  await host.run(['systemctl', 'start', UNIT])
  const leader = await machine.start()
  const look = (device: string): string =>
    `ip -o link show ${device}; ip -o address show ${device}; ip route; ip -6 route`
  const output = async (...argv: string[]): Promise<string> => (await host.run(argv, { reject: false })).stdout
  const registered = await machine.register(leader)
  const seen = {
    registered,
    bridge: await output('sh', '-c', look(bridge)),
    inside: await output('nsenter', '--net', '--target', leader, '--', 'sh', '-c', look('host0')),
    rules: await output('nft', 'list', 'ruleset')
  }
  await machine.end()
  return seen
}

t.test('Bridge=, Subnet4=, Subnet6= and MTU=', async (t) => {
  const config = '[Network]\nBridge=br-x\nSubnet4=10.99.7.0/24\nSubnet6=fd99::/64\nMTU=1400\n'
  const { bridge, inside } = await found(config, 'br-x')
  for (const text of ['mtu 1400', 'inet 10.99.7.1/24', 'inet6 fd99::1/64']) t.match(bridge, text)
  for (const text of ['mtu 1400', 'inet 10.99.7.', 'inet6 fd99::', 'default via 10.99.7.1', 'default via fd99::1']) {
    t.match(inside, text)
  }
})

t.test('MTU=auto is that of the way out', async (t) => {
  const way =
    'ip link add up0 mtu 1380 type veth peer name up1; ip link set up0 up; ip link set up1 up; ip address add 192.0.2.1/24 dev up0'
  await host.run(['sh', '-ec', `${way}; ip route add default via 192.0.2.2`])
  const { bridge, inside } = await found('[Network]\nMTU=auto\n')
  for (const text of [bridge, inside]) t.match(text, 'mtu 1380')
  await host.run(['ip', 'link', 'delete', 'up0'])
})

t.test('Pool4=, Prefix4= and DynamicRange= say which addresses there are', async (t) => {
  const { bridge, inside } = await found('[Network]\nPool4=10.50.0.0/16\nPrefix4=24\nDynamicRange=3-254\n')
  t.match(bridge, /inet 10\.50\.\d+\.1\/24/)
  t.match(inside, /inet 10\.50\.\d+\.2\/24/, 'the only one that is not in the range')
  t.match((await found('[Network]\nPool4=10.50.0.0/16\nPrefix4=28\n')).inside, /inet 10\.50\.\d+\.\d+\/28/)
})

t.test('a subnet is free that the host is not configured for', async (t) => {
  const networkd = '/etc/systemd/network/50-test.network'
  const resolver = '/etc/resolv.conf'
  const config = '[Network]\nPool4=10.50.0.0/23\n'
  for (const [taken, free] of [
    ['10.50.0', '10.50.1'],
    ['10.50.1', '10.50.0']
  ] as const) {
    await host.writeFile(networkd, `[Match]\nName=never0\n[Network]\nAddress=${taken}.7/24\nAddress=0.0.0.0/24\n`)
    t.match((await found(config)).bridge, `inet ${free}.1/24`, `Address= in ${taken}.0/24`)
    await host.run(['rm', networkd])
    await host.writeFile(resolver, `# nameserver ${free}.53\nnameserver ${taken}.53\n`)
    t.match((await found(config)).bridge, `inet ${free}.1/24`, `a name server in ${taken}.0/24`)
    await host.run(['rm', resolver])
  }
})

t.test('Gateway= is the address of the host in both families', async (t) => {
  const config = '[Network]\nSubnet4=10.99.7.0/24\nSubnet6=fd99::/64\n'
  for (const [value, last] of Object.entries({
    first: '1',
    last: '254',
    '10.99.7.16': '16',
    'fd99::10': '16',
    '10.98.7.16': '1'
  })) {
    const { bridge, inside } = await found(`${config}Gateway=${value}\n`)
    const last6 = Number(last).toString(16)
    for (const text of [`inet 10.99.7.${last}/24`, `inet6 fd99::${last6}/64`]) t.match(bridge, text, value)
    for (const text of [`default via 10.99.7.${last} `, `default via fd99::${last6} `]) t.match(inside, text, value)
  }
  t.match(await client.output('journalctl', '-u', UNIT, '-o', 'cat'), 'Gateway= is no address of the network')
})

t.test('a family that is off is nowhere', async (t) => {
  const no6 = await found('[Network]\nSubnet6=off\n')
  t.match(no6.inside, /inet \d/)
  for (const text of [no6.bridge, no6.inside]) t.notMatch(text, /inet6 (?!fe80)|default via [\da-f]+:/)
  t.notMatch(no6.rules, /fd[\da-f]*:/)
  const no4 = await found('[Network]\nSubnet4=off\n')
  t.match(no4.inside, 'inet6 fd')
  for (const text of [no4.bridge, no4.inside]) t.notMatch(text, /inet \d|default via \d+\./)
  t.notMatch(no4.rules, /\d+\.\d+\.\d+\.0\/24/)
})

t.test(
  'Masquerade= says which addresses are hidden, and a subnet that the world knows the way to is not',
  async (t) => {
    const hidden = async (config: string): Promise<string[]> => {
      const { rules } = await found(`[Network]\n${config}\n`)
      const sets = rules.matchAll(/set hidden([46]) \{[^}]*elements = /g)
      return Array.from(sets, ([, digit]) => (digit === '4' ? 'ip' : 'ip6'))
    }
    t.strictSame(await hidden('Masquerade=both'), ['ip', 'ip6'])
    t.strictSame(await hidden('Masquerade=ipv4'), ['ip'])
    t.strictSame(await hidden('Masquerade=ipv6'), ['ip6'])
    t.strictSame(await hidden('Masquerade=no'), [])
    t.strictSame(await hidden('Subnet6=2001:db8:1::/64'), ['ip'])
  }
)

t.test('AntiSpoof=no', async (t) => {
  t.match((await found('[Network]\nAntiSpoof=yes\n')).rules, 'table bridge machined')
  const { rules } = await found('[Network]\nAntiSpoof=no\n')
  t.match(rules, 'table inet machined')
  t.notMatch(rules, 'table bridge machined')
})

t.test('Inject=no leaves the inside to others', async (t) => {
  const { inside, bridge } = await found('[Network]\nInject=no\n')
  t.match(bridge, /inet \d/)
  t.notMatch(inside, /inet \d|inet6 fd|[<,]UP[,>]/)
})

t.test('DropIn=no tells the networkd inside nothing', async (t) => {
  const files = async (): Promise<string> => {
    const directory = `/proc/${await client.leader('c1')}/root/run/systemd/network`
    return (await host.run(['ls', directory], { reject: false })).stdout
  }
  for (const [value, isThere] of Object.entries({ yes: true, no: false })) {
    await host.writeFile(DROP_IN, `[Network]\nDropIn=${value}\n`)
    await host.run(['systemctl', 'restart', UNIT])
    await host.startContainer('c1', ['--network-veth'])
    t.equal((await files()).includes('79-machined-host0.network'), isThere, value)
    await host.run(['systemctl', 'stop', 'test-container-c1'])
  }
})

t.test('RequireNetwork= says what becomes of a machine whose network cannot be', async (t) => {
  await host.run(['machinedctl', 'network', 'take-down'])
  await host.run(['ip', 'link', 'add', 'machines0', 'type', 'veth', 'peer', 'name', 'other0'])
  const without = await found('[Network]\nRequireNetwork=no\n')
  t.equal(without.registered.stderr, '')
  t.notMatch(without.inside, /inet \d/)
  const { stderr } = (await found('[Network]\nRequireNetwork=yes\n')).registered
  t.match(stderr, 'Network interface machines0 is not ours')
  await host.run(['ip', 'link', 'delete', 'machines0'])
})

t.test('what the host routes by is kept from systemd-sysctl, with what it was before', async (t) => {
  const names = ['net/ipv4/ip_forward', 'net/ipv6/conf/all/forwarding', 'net/ipv6/conf/default/accept_ra']
  await host.run(['sysctl', '-q', ...names.slice(0, 2).map((name) => `${name}=0`), `${names[2] ?? ''}=1`])
  await host.writeFile(DROP_IN, '[Network]\n')
  await host.run(['systemctl', 'restart', UNIT])
  await machine.register(await machine.start())
  const mirror = (): Promise<string> => client.output('cat', '/run/sysctl.d/60-machined.conf')
  const first = await mirror()
  const wanted = [
    '0\n-net/ipv4/ip_forward = 1',
    '0\n-net/ipv6/conf/all/forwarding = 1',
    '1\n-net/ipv6/conf/default/accept_ra = 2'
  ]
  for (const [index, name] of names.entries()) t.match(first, `# ${name} was ${wanted[index] ?? '-'}`)
  t.match(first, /^-net\/ipv4\/conf\/machines0\/route_localnet = 1$/m)
  const inode = async (): Promise<string> =>
    (await host.run(['stat', '-c', '%i', '/run/sysctl.d/60-machined.conf'], { reject: false })).stdout
  const before = await inode()
  await host.run(['systemctl', 'restart', UNIT])
  await host.waitFor(async () => !['', before].includes(await inode()), 'the next daemon to write it')
  t.equal(await mirror(), first)
  await host.run(['rm', '-r', '/run/sysctl.d'])
  await host.run(['systemctl', 'kill', '--signal=HUP', UNIT])
  await host.waitFor(async () => (await inode()) !== '', 'the file to be back')
  t.equal(await mirror(), first)
  await machine.end()
  t.equal((await host.run(['ls', '/run/sysctl.d'], { reject: false })).stdout, '')
  t.equal(await client.output('cat', '/proc/sys/net/ipv4/ip_forward'), '1', 'others may count on it')
})

t.test('LocalhostForward=no', async (t) => {
  const lookup = /ip daddr 127\.0\.0\.0\/8 (?:tcp dport @kept )?return/
  t.match(lookup.exec((await found('[Firewall]\nLocalhostForward=yes\n')).rules)?.[0], '@kept')
  t.equal(lookup.exec((await found('[Firewall]\nLocalhostForward=no\n')).rules)?.[0], 'ip daddr 127.0.0.0/8 return')
})

t.test('Integration=no leaves the firewalls of others as they are', async (t) => {
  await host.run(['iptables', '-N', 'DOCKER-USER'])
  const told = async (value: string, t: Test): Promise<string> => {
    await host.writeFile(DROP_IN, `[Firewall]\nIntegration=${value}\n`)
    await host.run(['systemctl', 'restart', UNIT])
    t.equal((await machine.register(await machine.start())).stderr, '')
    if (value === 'auto') await host.waitFor(async () => (await chain()).includes('machined'), 'docker to be told')
    const seen = await chain()
    await machine.end()
    return seen
  }
  const chain = (): Promise<string> => client.output('iptables', '-S', 'DOCKER-USER')
  t.match(await told('auto', t), '-i machines0')
  await host.waitFor(async () => !(await chain()).includes('machined'), 'docker to be told that it is over')
  t.notMatch(await told('no', t), 'machines0')
})

import t, { type Test } from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'
import { OUTSIDE, Peer, serve } from './network-traffic.ts'

// Zones of systemd-nspawn (--network-zone=): the bridge is its own, which it makes and removes; what is on it is ours
// where no systemd-networkd runs (networking.md 7.5).

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
const UNIT = 'systemd-machined.service'
const ZONE = ['--network-zone=web']

async function enter(name: string): Promise<string[]> {
  return ['nsenter', '--net', '--target', await client.leader(name), '--']
}

async function addresses(name: string): Promise<[string, string]> {
  const argv = [...(await enter(name)), 'ip', '-o', 'address', 'show', 'dev', 'host0', 'scope', 'global']
  const text = await client.output(...argv)
  return [/inet ([\d.]+)\//.exec(text)?.[1] ?? '', /inet6 ([\da-f:]+)\//.exec(text)?.[1] ?? '']
}

/** Whether a machine gets an answer from there. */
async function reaches(name: string, target: string, withinSeconds = '5'): Promise<boolean> {
  const argv = [...(await enter(name)), 'ping', '-n', '-c', '1', '-W', withinSeconds, target]
  return (await host.run(argv, { reject: false })).exitCode === 0
}

async function allReach(t: Test): Promise<void> {
  for (const target of [...(await addresses('z2')), '192.0.2.2', '2001:db8::2', '192.0.2.1', '2001:db8::1']) {
    t.ok(await reaches('z1', target), `z1 reaches ${target}`)
  }
}

async function bridge(): Promise<string> {
  const script = 'ip -o -d link show vz-web; ip -o address show vz-web; bridge link show | grep vz-web'
  const { stdout } = await host.run(['sh', '-c', script], { reject: false })
  return stdout.replace(/ (?:preferred_lft|valid_lft|[a-z_]*timer) +\S+/g, '')
}

await host.run(['sh', '-es'], { input: OUTSIDE })
await host.startContainer('z1', ZONE)
await host.startContainer('z2', ['-U', ...ZONE])
await host.startContainer('c1', ['--network-veth'])

t.test('machines of a zone have a network of their own', async (t) => {
  for (const [index, pattern] of [/^\d+\.\d+\.\d+\.\d+$/, /^fd[\da-f:]+$/].entries()) {
    const [one = '', two = '', other = ''] = (await Promise.all(['z1', 'z2', 'c1'].map(addresses))).map(
      (found) => found[index]
    )
    for (const address of [one, two]) t.match(address, pattern)
    const start = (address: string): string => address.split(/[.:]/, 3 + index).join(' ')
    t.equal(start(one), start(two))
    t.not(start(one), start(other))
  }
  await allReach(t)
  for (const address of await addresses('c1'))
    t.notOk(await reaches('z1', address, '2'), `z1 does not reach ${address}`)
  t.match(await bridge(), /machined:net=vz-web/)
  t.match(await client.output('machinedctl', 'network', 'list'), /^vz-web +vz-web +\S+ +fd\S+ +yes +2$/m)
  t.match(await client.output('machinectl', 'list', '--no-legend'), (await addresses('z1'))[0])
})

t.test('ports lead into them', async (t) => {
  await serve(host, await enter('z1'), 80)
  await host.run(['machinedctl', 'network', 'forward', 'add', 'z1', '8080', '80'])
  const local = new Peer(host, [])
  t.match(await local.ask('192.0.2.1:8080'), / 80$/)
  t.match(await local.ask('[2001:db8::1]:8080'), / 80$/)
  const [own] = await addresses('c1')
  t.equal(await new Peer(host, await enter('c1')).ask('192.0.2.1:8080'), `${own} 80`, 'for machines of others as well')
})

t.test('what an administrator gives the bridge stays there', async (t) => {
  await host.run(['ip', 'address', 'add', '198.51.100.1/24', 'dev', 'vz-web'])
  const before = await bridge()
  await host.run(['systemctl', 'kill', '--signal=KILL', UNIT])
  await host.run(['systemctl', 'start', UNIT])
  const rules = (): Promise<string> => client.output('nft', 'list', 'set', 'inet', 'machined', 'bridges')
  await host.waitFor(async () => (await rules()).includes('vz-web'), 'the daemon to know the zone')
  t.equal(await bridge(), before)
  t.match(before, 'inet 198.51.100.1/24')
  await allReach(t)
})

function localRoutes(): Promise<string> {
  return client.output('cat', '/proc/sys/net/ipv4/conf/vz-web/route_localnet')
}

t.test('the bridge is held, and given back where networks are not ours to manage', async (t) => {
  const [before] = await addresses('z1')
  const gateways = Array.from((await bridge()).matchAll(/inet6? (?!fe80|198)(\S+)/g), ([, address = '']) => address)
  t.equal(gateways.length, 2)
  await host.run(['ip', 'address', 'delete', gateways[0] ?? '', 'dev', 'vz-web'])
  t.equal(await localRoutes(), '1')
  await host.run(['systemctl', 'kill', '--signal=HUP', UNIT])
  await host.waitFor(async () => (await bridge()).includes(gateways[0] ?? '-'), 'the address to be back')
  await host.writeFile('/run/systemd/machined.conf.d/test.conf', '[Network]\nManage=no\n')
  await host.run(['systemctl', 'restart', UNIT])
  await host.waitFor(async () => !(await bridge()).includes('machined:'), 'the bridge to be given back')
  const left = await bridge()
  for (const gateway of gateways) t.notMatch(left, gateway)
  t.equal(await localRoutes(), '0')
  t.match(left, 'inet 198.51.100.1/24')
  for (const port of ['vb-z1', 'vb-z2']) t.match(left, new RegExp(`${port}[^]*master vz-web state forwarding`))
  await host.run(['rm', '/run/systemd/machined.conf.d/test.conf'])
  await host.run(['systemctl', 'restart', UNIT])
  await host.waitFor(async () => (await bridge()).includes(gateways[0] ?? '-'), 'the zone to be ours again')
  t.equal((await addresses('z1'))[0], before)
  await allReach(t)
})

async function traces(): Promise<string> {
  const script =
    'nft list ruleset; cat /run/sysctl.d/* /run/systemd/network/* 2>/dev/null; ip -o link | grep -o "v[bz]-[a-z0-9]*"'
  return (await host.run(['sh', '-c', script], { reject: false })).stdout
}

t.test('what is of a zone goes with it, and a zone that comes again is as it was', async (t) => {
  const before = await addresses('z1')
  await host.run(['systemctl', 'stop', 'test-container-z2'])
  t.ok(await reaches('z1', '192.0.2.2'), 'as long as one machine is in it, it stays')
  await host.run(['systemctl', 'stop', 'test-container-z1'])
  await host.waitFor(async () => !/v[bz]-/.test(await traces()), 'nothing of the zone to be left')
  t.ok(await reaches('c1', '192.0.2.2'), 'other networks stay')
  const given = before[0].replace(/\d+$/, '99')
  await host.run(['machinedctl', 'network', 'set-lease', 'z1', given])
  await host.startContainer('z1', ZONE)
  t.strictSame(await addresses('z1'), [given, before[1]], 'but for the address that it was given meanwhile')
  t.ok(await reaches('z1', '192.0.2.2'))
  await host.run(['systemctl', 'stop', 'test-container-c1', 'test-container-z1'])
  const isClean = async (): Promise<boolean> => (await traces()) === ''
  await host.waitFor(isClean, 'nothing to be left of all')
})

t.test('where systemd-networkd runs, zones are its own', async (t) => {
  // It waits for udev else, which there is none of.
  await host.run(['mount', '-o', 'remount,bind,ro', '/sys'])
  await host.writeFile('/run/systemd/machined.conf.d/test.conf', '[Network]\nManage=yes\n')
  await host.run(['systemctl', 'restart', UNIT])
  await host.run(['systemctl', 'start', 'systemd-networkd.service'])
  await host.waitFor(
    async () => (await client.output('machinedctl', 'network')).includes('systemd-networkd runs: yes'),
    'the daemon to see systemd-networkd'
  )
  await host.startContainer('z1', ZONE)
  await host.startContainer('c1', ['--network-veth'])
  t.match((await addresses('c1'))[0], /^\d/, 'others are taken over')
  t.notMatch(await bridge(), 'machined:')
  t.notMatch(await client.output('nft', 'list', 'ruleset'), 'vz-web')
})

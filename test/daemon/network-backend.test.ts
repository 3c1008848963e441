import t from 'tap'
import { TestHost, type RunResult } from '../host/host.ts'
import { Client } from './client.ts'
import { ENTER_OUTSIDE, OUTSIDE, Peer, serve, SILENCE_MS } from './network-traffic.ts'
import { netlinkProtocols } from './stress.ts'

// Backend= of machined.conf: with `networkd`, links and addresses of machines are those of its stock files, and ports
// are forwarded to what they have by DHCP (networking.md 7.2).

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
const UNIT = 'systemd-machined.service'

async function configure(text: string): Promise<void> {
  await host.writeFile('/run/systemd/machined.conf.d/test.conf', text)
  await host.run(['systemctl', 'restart', UNIT])
}

async function enter(name: string): Promise<string[]> {
  return ['nsenter', '--net', '--target', await client.leader(name), '--']
}

async function address(name: string): Promise<string> {
  const argv = ['ip', '-o', '-4', 'address', 'show', 'dev', 'host0', 'scope', 'global']
  return /inet ([\d.]+)\//.exec(await client.output(...(await enter(name)), ...argv))?.[1] ?? ''
}

async function forwardTo(): Promise<string> {
  const list = ['nft', 'list', 'map', 'inet', 'machined', 'free4_addr']
  return (await host.run(list, { reject: false })).stdout
}

function forward(...args: string[]): Promise<RunResult> {
  return host.run(['machinedctl', 'network', 'forward', ...args], { reject: false })
}

await host.run(['sh', '-es'], { input: OUTSIDE })
await host.writeFile('/etc/machined/machines/c1.conf', '[Forward]\nListen=8080\nTarget=80\n')
await configure('[Network]\nBackend=networkd\n')
// It waits for udev else, which there is none of.
await host.run(['mount', '-o', 'remount,bind,ro', '/sys'])
await host.run(['systemctl', 'start', 'systemd-networkd.service'])
for (const name of ['c1', 'c2']) {
  await host.run(['mkdir', '-p', `/run/test-host/containers/${name}/upper/etc/systemd/system/multi-user.target.wants`])
  const wants = `/run/test-host/containers/${name}/upper/etc/systemd/system/multi-user.target.wants/`
  await host.run(['ln', '-s', '/usr/lib/systemd/system/systemd-networkd.service', wants])
  await host.startContainer(name, ['--network-veth'])
}
const outside = new Peer(host, ENTER_OUTSIDE)
const local = new Peer(host, [])

t.test('ports lead to the addresses that machines have from systemd-networkd', async (t) => {
  await host.waitFor(async () => (await address('c1')) !== '' && (await address('c2')) !== '', 'DHCP to be through')
  await host.waitFor(async () => (await forwardTo()).includes(await address('c1')), 'the port to lead there')
  await serve(host, await enter('c1'), 80)
  t.equal(await outside.ask('192.0.2.1:8080'), '192.0.2.2 80')
  for (const place of ['192.0.2.1', '127.0.0.1', '[::1]']) t.match(await local.ask(`${place}:8080`), / 80$/, place)
  for (const name of ['c2', 'c1']) {
    t.match(await new Peer(host, await enter(name)).ask('192.0.2.1:8080'), / 80$/, `from ${name}`)
  }
})

t.test('links are left alone', async (t) => {
  const links = await client.output('ip', '-d', '-o', 'link')
  t.notMatch(links, /machined:|machines0/)
  t.match(await client.output('networkctl', 'list', '--no-legend', '--no-pager'), /ve-c1 .*configured/)
  t.equal((await host.run(['ls', '/run/systemd/network/79-machined.network'], { reject: false })).stdout, '')
  const status = await client.output('machinedctl', 'network', 'status')
  t.match(status, /Backend: networkd\nManaged: no\n/)
  const { stderr } = await host.run(['machinedctl', 'network', 'set-lease', 'c1', '10.0.0.9'], { reject: false })
  t.match(stderr, 'The network of machines is managed by others')
})

t.test('forwards come and go, and a daemon that starts anew has them again', async (t) => {
  t.equal((await forward('add', 'c1', '8081', '80')).stderr, '')
  t.equal(await outside.ask('192.0.2.1:8081'), '192.0.2.2 80')
  await host.run(['systemctl', 'kill', '--signal=KILL', UNIT])
  await host.run(['systemctl', 'start', UNIT])
  t.equal(await outside.ask('192.0.2.1:8081'), '192.0.2.2 80', 'also while it starts')
  await host.run(['nft', 'flush', 'ruleset'])
  await host.waitFor(async () => (await forwardTo()).includes(await address('c1')), 'the rules to be back')
  t.equal((await forward('remove', 'c1', '8081')).stderr, '')
  t.equal(await outside.ask('192.0.2.1:8081', 'tcp', SILENCE_MS), undefined)
})

t.test('a machine cannot lead ports to addresses that are not at its link', async (t) => {
  const inside = await enter('c1')
  const own = await address('c1')
  const shown = await client.output('ip', '-o', '-4', 'address', 'show', 'dev', 've-c1')
  const [, gateway = ''] = /inet ([\d.]+)\//.exec(shown) ?? []
  await host.run([...inside, 'ip', 'address', 'add', '192.0.2.9/32', 'dev', 'host0'])
  await host.run([...inside, 'ip', 'address', 'add', `${gateway}/32`, 'dev', 'host0'])
  await host.run([...inside, 'ip', 'address', 'delete', `${own}/28`, 'dev', 'host0'])
  await host.waitFor(async () => !(await forwardTo()).includes(own), 'the address to be noticed')
  t.notMatch(await forwardTo(), /192\.0\.2\.9/)
  t.notMatch(await forwardTo(), gateway)
})

t.test('what leads to a machine goes with it', async (t) => {
  await host.run(['systemctl', 'stop', 'test-container-c1', 'test-container-c2'])
  await host.waitFor(
    async () => !(await client.output('nft', 'list', 'tables')).includes('machined'),
    'the rules to be gone'
  )
  t.equal((await host.run(['ls', '/run/sysctl.d'], { reject: false })).stdout, '')
})

t.test('a daemon that leaves links to systemd-networkd gives back those that it had', async (t) => {
  await configure('[Network]\nManage=yes\n')
  await host.startContainer('c2', ['--network-veth'])
  t.match(await client.output('ip', '-o', 'link', 'show', 'dev', 've-c2'), 'master machines0')
  await configure('[Network]\nBackend=networkd\n')
  await host.waitFor(
    async () => /ve-c2 .*configur/.test(await client.output('networkctl', 'list', '--no-legend', '--no-pager')),
    'systemd-networkd to take the link'
  )
  t.notMatch(await client.output('ip', '-d', '-o', 'link'), /machined:|machines0/)
})

t.test('Backend=none does nothing at all', async (t) => {
  await configure('[Network]\nBackend=none\n')
  t.match(await client.output('machinedctl', 'network', 'status'), /Backend: none\nManaged: no\n/)
  const open = async (): Promise<string[]> =>
    (await netlinkProtocols(host)).filter((protocol) => ['0', '12'].includes(protocol))
  await host.waitFor(async () => (await open()).length === 0, 'no socket to be open')
  t.strictSame(await open(), [])
})

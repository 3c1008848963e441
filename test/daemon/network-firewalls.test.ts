import t, { type Test } from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'
import { NetworkLeader } from './network-leader.ts'
import { ENTER_OUTSIDE, OUTSIDE, Peer, serve, SILENCE_MS } from './network-traffic.ts'

// Networks of machines beside the firewalls of others (networking.md 7.8).

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
const UNIT = 'systemd-machined.service'
const BRIDGE = 'machines0'

await host.run(['sh', '-es'], { input: OUTSIDE })
await serve(host, ENTER_OUTSIDE, 70)
await serve(host, [], 71)
await host.writeFile('/etc/machined/machines/c1.conf', '[Forward]\nListen=8080\nTarget=80\n')
await host.run(['systemctl', 'start', 'firewalld.service'])
await host.startContainer('c1', ['--network-veth'])
const enter = ['nsenter', '--net', '--target', await client.leader('c1'), '--']
await serve(host, enter, 80)
const inside = new Peer(host, enter)
const outside = new Peer(host, ENTER_OUTSIDE)

/** Which of what a machine is to reach, and of where it is to be reached, gives no answer. */
async function silent(): Promise<string[]> {
  const fromInside = ['192.0.2.2:70', '[2001:db8::2]:70', '192.0.2.1:71', '[2001:db8::1]:71']
  const fromOutside = ['192.0.2.1:8080', '[2001:db8::1]:8080']
  const ask = async (peer: Peer, target: string): Promise<string[]> =>
    (await peer.ask(target, 'tcp', SILENCE_MS)) === undefined ? [target] : []
  const asked = [
    ...fromInside.map((target) => ask(inside, target)),
    ...fromOutside.map((target) => ask(outside, target))
  ]
  return (await Promise.all(asked)).flat()
}

async function workSoon(t: Test, what: string): Promise<void> {
  await host.waitFor(async () => (await silent()).length === 0, `traffic ${what}`)
  t.pass(what)
}

async function zone(bridge = BRIDGE): Promise<string> {
  return (await host.run(['firewall-cmd', `--get-zone-of-interface=${bridge}`], { reject: false })).stdout
}

t.test('with firewalld the bridge is in the zone for machines', async (t) => {
  await host.waitFor(async () => (await zone()) === 'machined', 'the bridge to be in its zone')
  await workSoon(t, 'with firewalld')
  t.equal(await outside.ask('192.0.2.1:71', 'tcp', SILENCE_MS), undefined, 'which goes on to guard the host')
})

t.test('with firewalld each network has its bridge in that zone, and they stay apart', async (t) => {
  await host.writeFile('/etc/machined/networks/blue.conf', '[Network]\n')
  await host.writeFile('/etc/machined/machines/m2.conf', '[Network]\nNetwork=blue\n')
  const machine = new NetworkLeader(host, client, 'm2')
  await machine.prepare()
  const leader = await machine.start()
  await machine.register(leader)
  await host.waitFor(async () => (await zone('mn-blue')) === 'machined', 'the other bridge to be in the zone, too')
  t.equal(await zone(), 'machined')
  const other = ['nsenter', '--net', '--target', leader, '--']
  await serve(host, other, 80)
  const text = await client.output(...other, 'ip', '-o', '-4', 'address', 'show', 'dev', 'host0')
  const address = /inet ([\d.]+)/.exec(text)?.[1] ?? ''
  const peer = new Peer(host, other)
  t.equal(await new Peer(host, []).ask(`${address}:80`), `${address.replace(/\d+$/, '1')} 80`, 'the host reaches it')
  t.ok(await peer.ask('192.0.2.2:70'), 'it reaches the outside')
  t.equal(await inside.ask(`${address}:80`, 'tcp', SILENCE_MS), undefined, 'c1 does not reach it')
  await host.run(['firewall-cmd', '--reload'])
  await host.waitFor(async () => (await zone('mn-blue')) === 'machined', 'both to be in the zone after a reload')
  t.ok(await peer.ask('192.0.2.2:70'), 'it still reaches the outside')
  await machine.end()
  await host.waitFor(async () => (await zone('mn-blue')) !== 'machined', 'the bridge to be out of the zone')
  t.equal(await zone(), 'machined', 'the one that has machines stays')
})

t.test('firewalld may read its files anew, stop and start', async (t) => {
  await host.run(['firewall-cmd', '--reload'])
  await workSoon(t, 'after a reload')
  t.equal(await zone(), 'machined')
  await host.run(['systemctl', 'stop', 'firewalld.service'])
  await workSoon(t, 'without firewalld')
  await host.run(['systemctl', 'start', 'firewalld.service'])
  await host.waitFor(async () => (await zone()) === 'machined', 'the bridge to be in its zone again')
  await workSoon(t, 'with firewalld again')
})

t.test('where firewalld allows no forwards but its own, that is said', async (t) => {
  await host.run(['sed', '-i', 's/^StrictForwardPorts=.*/StrictForwardPorts=yes/', '/etc/firewalld/firewalld.conf'])
  await host.run(['systemctl', 'restart', 'firewalld.service'])
  await host.waitFor(async () => (await zone()) === 'machined', 'firewalld to be back')
  const { stderr } = await host.run(['machinedctl', 'network', 'forward', 'add', 'c1', '9', '80'], { reject: false })
  t.match(stderr, /only its own port forwards .* StrictForwardPorts=yes in firewalld\.conf/)
  await host.run(['systemctl', 'stop', 'firewalld.service'])
})

t.test("docker's rules let machines through, also when it comes later", async (t) => {
  const docker = `
    for command in iptables ip6tables; do
      $command -P FORWARD DROP
      $command -N DOCKER-USER
      $command -A DOCKER-USER -j RETURN
      $command -A FORWARD -j DOCKER-USER
    done`
  await host.run(['sh', '-ec', docker])
  await workSoon(t, 'with docker')
  await host.run(['iptables', '-F', 'DOCKER-USER'])
  await workSoon(t, 'after docker has made its chain anew')
  const away = `
    for command in iptables ip6tables; do
      $command -P FORWARD ACCEPT
      # The daemon may put its rule into the chain in between.
      until $command -F && $command -X; do :; done
    done`
  await host.run(['sh', '-ec', away])
})

t.test("ufw's rules let machines through", async (t) => {
  // A kernel may lack what ufw logs by.
  await host.run(['ufw', 'logging', 'off'])
  await host.run(['ufw', '--force', 'enable'])
  t.match(await client.output('ufw', 'status', 'verbose'), /deny \(incoming\).*(?:deny|disabled) \(routed\)/)
  await workSoon(t, 'with ufw')
  t.equal(await outside.ask('192.0.2.1:71', 'tcp', SILENCE_MS), undefined, 'which goes on to guard the host')
  await host.run(['ufw', 'reload'], { reject: false })
  await workSoon(t, 'after ufw has reloaded')
})

t.test('a table that drops all else is named', async (t) => {
  const table = 'table inet custom { chain most { type filter hook forward priority 0; policy drop; }; }'
  await host.run(['nft', table])
  await host.run(['systemctl', 'restart', UNIT])
  const isSaid = async (): Promise<boolean> =>
    (await client.output('journalctl', '-u', UNIT, '-o', 'cat')).includes("Chain most of table 'inet custom' drops")
  await host.waitFor(isSaid, 'the warning')
  t.ok(await isSaid())
  await host.run(['nft', 'delete', 'table', 'inet', 'custom'])
})

t.test('after the last machine their rules are as before', async (t) => {
  await host.run(['systemctl', 'stop', 'test-container-c1'])
  const rules = async (): Promise<string> => client.output('sh', '-c', 'iptables -S; ip6tables -S; nft list tables')
  await host.waitFor(async () => !(await rules()).includes('machined'), 'our rules to be gone')
  t.match(await rules(), 'ufw-user-forward')
})

import t from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'
import { ENTER_OUTSIDE, OUTSIDE, Peer, serve } from './network-traffic.ts'

// Ports that systemd-nspawn itself leads into its container, by Port= of systemd.nspawn(5), beside forwards of ours
// (networking.md 7.2).

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
const UNIT = 'systemd-machined.service'

await host.run(['sh', '-es'], { input: OUTSIDE })
await host.writeFile(
  '/etc/systemd/nspawn/c1.nspawn',
  '[Network]\nVirtualEthernet=yes\nPort=tcp:9080:80\nPort=udp:9053:53\n'
)
await host.writeFile('/etc/machined/machines/c1.conf', '[Forward]\nListen=8080\nTarget=80\n')
await host.startContainer('c1', ['--settings=override'])
const enter = ['nsenter', '--net', '--target', await client.leader('c1'), '--']
await serve(host, enter, 53, 80)
const outside = new Peer(host, ENTER_OUTSIDE)
const local = new Peer(host, [])

/** What is led into the machine, whoever does it: from the outside and from the host. */
async function answers(): Promise<(string | undefined)[]> {
  const ports = ['8080', '9080'].map((port) => outside.ask(`192.0.2.1:${port}`))
  const udp = outside.ask('192.0.2.1:9053', 'udp')
  const near = ['8080', '9080'].map(async (port) => (await local.ask(`192.0.2.1:${port}`))?.replace(/.* /, ''))
  return Promise.all([...ports, udp, ...near])
}

const ALL = ['192.0.2.2 80', '192.0.2.2 80', '192.0.2.2 53', '80', '80']

t.test('both lead into the container', async (t) => {
  t.strictSame(await answers(), ALL)
  const tables = await client.output('nft', 'list', 'ruleset')
  for (const table of ['table inet machined', 'table ip io.systemd.nat']) t.match(tables, table)
})

t.test('also when the daemon starts anew, and when the container gets another address', async (t) => {
  await host.run(['systemctl', 'restart', UNIT])
  t.strictSame(await answers(), ALL)
  const [subnet = ''] = /\d+\.\d+\.\d+\./.exec(await client.output('machinedctl', 'network', 'status')) ?? []
  await host.run(['machinedctl', 'network', 'set-lease', 'c1', `${subnet}77`])
  const isLed = async (): Promise<boolean> =>
    (await client.output('nft', 'list', 'table', 'ip', 'io.systemd.nat')).includes(`${subnet}77 . 80`)
  await host.waitFor(isLed, 'systemd-nspawn to lead there')
  t.strictSame(await answers(), ALL)
})

t.test('of the same port, ours comes first', async (t) => {
  t.equal((await host.run(['machinedctl', 'network', 'forward', 'add', 'c1', '9080', '53'])).stderr, '')
  t.equal(await outside.ask('192.0.2.1:9080'), '192.0.2.2 53')
  t.equal((await host.run(['machinedctl', 'network', 'forward', 'remove', 'c1', '9080'])).stderr, '')
  t.strictSame(await answers(), ALL, 'and what systemd-nspawn does is back after it')
})

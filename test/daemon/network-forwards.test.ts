import t, { type Test } from 'tap'
import { TestHost, type RunResult } from '../host/host.ts'
import { Client } from './client.ts'
import { ENTER_OUTSIDE, OUTSIDE, Peer, serve, SILENCE_MS } from './network-traffic.ts'

// Ports of the host that lead into machines, with real traffic (networking.md 7.2, 7.6).

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
const UNIT = 'systemd-machined.service'

const CONFIG_1 = '[Forward]\nListen=8080\nTarget=80\n[Forward]\nListen=udp:8053\nTarget=53\n'
const CONFIG_2 = '[Forward]\nListen=8443\nTarget=443\n[Forward]\nListen=8080\nTarget=443\n'

await host.run(['sh', '-es'], { input: OUTSIDE })
await host.writeFile('/etc/machined/machines/c1.conf', CONFIG_1)
await host.writeFile('/etc/machined/machines/c2.conf', CONFIG_2)
await start('c1')
await start('c2')
const outside = new Peer(host, ENTER_OUTSIDE)
const local = new Peer(host, [])

async function start(name: string): Promise<void> {
  await host.startContainer(name, ['--network-veth'])
  await serve(host, await enter(name), 53, 80, 443)
}

async function enter(name: string): Promise<string[]> {
  return ['nsenter', '--net', '--target', await client.leader(name), '--']
}

function forward(...args: string[]): Promise<RunResult> {
  return host.run(['machinedctl', 'network', 'forward', ...args], { reject: false })
}

t.test('what is configured for a machine leads into it, with the address of the client', async (t) => {
  t.equal(await outside.ask('192.0.2.1:8080'), '192.0.2.2 80')
  t.equal(await outside.ask('[2001:db8::1]:8080'), '2001:db8::2 80')
  t.equal(await outside.ask('192.0.2.1:8053', 'udp'), '192.0.2.2 53')
  t.equal(await outside.ask('[2001:db8::1]:8053', 'udp'), '2001:db8::2 53')
  t.equal(await outside.ask('192.0.2.1:8443'), '192.0.2.2 443')
  t.match(
    await client.output('journalctl', '-u', UNIT, '-o', 'cat'),
    /c2\.conf: Port tcp:8080 is forwarded to machine 'c1' already, ignoring/
  )
  const [own4] = (await client.output('machinedctl', 'network', 'leases')).match(/\d+(?:\.\d+){3}/) ?? []
  t.equal(await local.ask(`${own4 ?? ''}:80`).then((text) => text?.endsWith(' 80')), true)
  t.equal(await outside.ask(`${own4 ?? ''}:80`, 'tcp', SILENCE_MS), undefined, 'machines are reached by forwards alone')
  t.match((await forward('remove', 'c1', '8080')).stderr, /is forwarded by \/etc\/machined\/machines\/c1\.conf/)
})

t.test('the host reaches them at each of its addresses', async (t) => {
  for (const address of ['192.0.2.1', '[2001:db8::1]', '127.0.0.1', '127.1.2.3']) {
    t.match(await local.ask(`${address}:8080`), / 80$/, address)
    t.match(await local.ask(`${address}:8053`, 'udp'), / 53$/, `${address}, UDP`)
  }
  t.match(await local.ask('[::1]:8080'), / 80$/, '::1')
})

t.test('a port that a service of the host has stays its own there', async (t) => {
  await serve(host, [], 7100)
  t.equal((await forward('add', 'c1', '7100', '80')).stderr, '')
  t.equal(await local.ask('127.0.0.1:7100'), '127.0.0.1 7100')
  t.equal(await local.ask('[::1]:7100'), '::1 7100')
  t.equal(await outside.ask('192.0.2.1:7100'), '192.0.2.2 80')
  t.match(await client.output('journalctl', '-u', UNIT, '-o', 'cat'), /tcp:7100 does not lead .* a service of the host/)
  t.equal((await forward('remove', 'c1', '7100')).stderr, '')
})

t.test('a machine reaches its own, whether or not frames on bridges pass the rules for packets', async (t) => {
  const machines = { c1: new Peer(host, await enter('c1')), c2: new Peer(host, await enter('c2')) }
  for (const value of ['1', '0']) {
    const names = ['iptables', 'ip6tables'].map((name) => `net.bridge.bridge-nf-call-${name}=${value}`)
    if ((await host.run(['sysctl', '-q', ...names], { reject: false })).exitCode !== 0) return
    await host.run(['systemctl', 'restart', UNIT])
    for (const [name, peer] of Object.entries(machines)) {
      for (const address of ['192.0.2.1', '[2001:db8::1]']) {
        const what = `${name} at ${address} with ${names.join(' ')}`
        t.match(await peer.ask(`${address}:8080`), / 80$/, what)
        t.match(await peer.ask(`${address}:8053`, 'udp'), / 53$/, `${what}, UDP`)
      }
    }
  }
})

t.test('at run time: ranges, and ports that are bound to an address, which come first', async (t) => {
  t.equal((await forward('add', 'c2', '192.0.2.3:8080', '443')).stderr, '')
  t.equal((await forward('add', 'c2', '[2001:db8::1]:8080', '443')).stderr, '')
  t.equal((await forward('add', 'c2', 'udp:192.0.2.1:9000-9099', '1')).stderr, '')
  t.match((await forward('add', 'c2', '8000-8090')).stderr, /Port tcp:8080 is forwarded to machine 'c1' already/)
  t.equal(await outside.ask('192.0.2.3:8080'), '192.0.2.2 443')
  t.equal(await outside.ask('[2001:db8::1]:8080'), '2001:db8::2 443')
  t.equal(await outside.ask('192.0.2.1:8080'), '192.0.2.2 80')
  t.equal(await outside.ask('192.0.2.1:9052', 'udp'), '192.0.2.2 53')
  t.equal(await outside.ask('192.0.2.1:9079', 'udp'), '192.0.2.2 80')
  t.equal(await outside.ask('192.0.2.3:9052', 'udp', SILENCE_MS), undefined)
  t.equal((await forward('remove', 'c2', '192.0.2.3:8080')).stderr, '')
  t.equal(await outside.ask('192.0.2.3:8080'), '192.0.2.2 80')
})

/** Both go on as they were. */
async function goOn(t: Test, talks: readonly ReturnType<Peer['talkTo']>[], after: string): Promise<void> {
  for (const talk of talks) t.match(await talk(), /^192\.0\.2\.2 /, after)
}

t.test('connections go on whatever changes', async (t) => {
  const tcp = outside.talkTo('192.0.2.1:8080')
  const udp = outside.talkTo('192.0.2.1:8053', 'udp')
  await goOn(t, [tcp, udp], 'at first')
  t.equal((await forward('add', 'c1', '7000', '80')).stderr, '')
  t.equal((await forward('remove', 'c1', '7000')).stderr, '')
  await goOn(t, [tcp, udp], 'other forwards')
  await host.run(['systemctl', 'stop', 'test-container-c2'])
  await goOn(t, [tcp, udp], 'another machine has gone')
  await start('c2')
  await goOn(t, [tcp, udp], 'another machine has come')
  await host.run(['systemctl', 'restart', UNIT])
  await goOn(t, [tcp, udp], 'the daemon has started anew')
  await host.run(['nft', 'flush', 'ruleset'])
  await host.waitFor(async () => (await outside.ask('192.0.2.1:8080')) === '192.0.2.2 80', 'the rules to be back')
  await goOn(t, [tcp, udp], 'the rules were taken away')
})

t.test('a client of UDP that goes on sending is led as the forwards are now', async (t) => {
  t.equal((await forward('add', 'c1', 'udp:7053', '53')).stderr, '')
  const [udp, near] = [outside, local].map((peer) => peer.talkTo('192.0.2.1:7053', 'udp'))
  t.equal(await udp?.(), '192.0.2.2 53')
  t.match(await near?.(), / 53$/)
  t.equal((await forward('remove', 'c1', 'udp:7053')).stderr, '')
  t.equal(await udp?.(SILENCE_MS), undefined)
  t.equal((await forward('add', 'c2', 'udp:7053', '80')).stderr, '')
  t.equal(await udp?.(), '192.0.2.2 80')
})

t.test('forwards go with their machine and come back with it', async (t) => {
  const udp = outside.talkTo('192.0.2.1:8053', 'udp')
  const proxied = local.talkTo('[::1]:8080')
  t.equal(await udp(), '192.0.2.2 53')
  t.match(await proxied(), / 80$/)
  await host.run(['systemctl', 'stop', 'test-container-c1'])
  t.equal(await proxied(SILENCE_MS), undefined)
  await host.waitFor(async () => (await outside.ask('192.0.2.1:8080')) === '192.0.2.2 443', 'c2 to get the port')
  t.equal(await udp(SILENCE_MS), undefined)
  await start('c1')
  t.equal(await udp(), '192.0.2.2 53')
  t.equal(await outside.ask('192.0.2.1:8080'), '192.0.2.2 443', 'c2 keeps what it has got')
})

import t, { type Test } from 'tap'
import { TestHost, type RunResult } from '../host/host.ts'
import { Client } from './client.ts'
import { ask, Conversation, ENTER_OUTSIDE, OUTSIDE, serve } from './network-traffic.ts'

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

/** What answers there, for a client in the host. */
function asked(target: string, protocol?: 'tcp' | 'udp'): Promise<string | undefined> {
  return ask(host, [], target, protocol)
}

/** What answers there, for a client outside. */
function askedOutside(target: string, protocol?: 'tcp' | 'udp'): Promise<string | undefined> {
  return ask(host, ENTER_OUTSIDE, target, protocol)
}

t.test('what is configured for a machine leads into it, with the address of the client', async (t) => {
  t.equal(await askedOutside('192.0.2.1:8080'), '192.0.2.2 80')
  t.equal(await askedOutside('[2001:db8::1]:8080'), '2001:db8::2 80')
  t.equal(await askedOutside('192.0.2.1:8053', 'udp'), '192.0.2.2 53')
  t.equal(await askedOutside('[2001:db8::1]:8053', 'udp'), '2001:db8::2 53')
  t.equal(await askedOutside('192.0.2.1:8443'), '192.0.2.2 443')
  t.match(
    await client.output('journalctl', '-u', UNIT, '-o', 'cat'),
    /c2\.conf: Port tcp:8080 is forwarded to machine 'c1' already, ignoring/
  )
  const [own4] = (await client.output('machinedctl', 'network', 'leases')).match(/10\.[\d.]+/) ?? []
  t.equal(await asked(`${own4 ?? ''}:80`).then((text) => text?.endsWith(' 80')), true)
  t.equal(await askedOutside(`${own4 ?? ''}:80`), undefined, 'machines are reached by forwards alone')
  t.match((await forward('remove', 'c1', '8080')).stderr, /is forwarded by \/etc\/machined\/machines\/c1\.conf/)
})

t.test('the host reaches them at each of its addresses', async (t) => {
  for (const address of ['192.0.2.1', '[2001:db8::1]', '127.0.0.1', '127.1.2.3']) {
    t.match(await asked(`${address}:8080`), / 80$/, address)
    t.match(await asked(`${address}:8053`, 'udp'), / 53$/, `${address}, UDP`)
  }
})

t.test('a machine reaches its own, whether or not frames on bridges pass the rules for packets', async (t) => {
  for (const value of ['1', '0']) {
    const names = ['iptables', 'ip6tables'].map((name) => `net.bridge.bridge-nf-call-${name}=${value}`)
    if ((await host.run(['sysctl', '-q', ...names], { reject: false })).exitCode !== 0) return
    await host.run(['systemctl', 'restart', UNIT])
    for (const name of ['c1', 'c2']) {
      for (const address of ['192.0.2.1', '[2001:db8::1]']) {
        const what = `${name} at ${address} with ${names.join(' ')}`
        t.match(await ask(host, await enter(name), `${address}:8080`), / 80$/, what)
        t.match(await ask(host, await enter(name), `${address}:8053`, 'udp'), / 53$/, `${what}, UDP`)
      }
    }
  }
})

t.test('at run time: ranges, and ports that are bound to an address, which come first', async (t) => {
  t.equal((await forward('add', 'c2', '192.0.2.3:8080', '443')).stderr, '')
  t.equal((await forward('add', 'c2', '[2001:db8::1]:8080', '443')).stderr, '')
  t.equal((await forward('add', 'c2', 'udp:192.0.2.1:9000-9099', '1')).stderr, '')
  t.match((await forward('add', 'c2', '8000-8090')).stderr, /Port tcp:8080 is forwarded to machine 'c1' already/)
  t.equal(await askedOutside('192.0.2.3:8080'), '192.0.2.2 443')
  t.equal(await askedOutside('[2001:db8::1]:8080'), '2001:db8::2 443')
  t.equal(await askedOutside('192.0.2.1:8080'), '192.0.2.2 80')
  t.equal(await askedOutside('192.0.2.1:9052', 'udp'), '192.0.2.2 53')
  t.equal(await askedOutside('192.0.2.1:9079', 'udp'), '192.0.2.2 80')
  t.equal(await askedOutside('192.0.2.3:9052', 'udp'), undefined)
  t.equal((await forward('remove', 'c2', '192.0.2.3:8080')).stderr, '')
  t.equal(await askedOutside('192.0.2.3:8080'), '192.0.2.2 80')
})

/** Both go on as they were. */
async function goOn(t: Test, conversations: readonly Conversation[], after: string): Promise<void> {
  for (const conversation of conversations) t.match(await conversation.say(), /^192\.0\.2\.2 /, after)
}

t.test('connections go on whatever changes', async (t) => {
  const tcp = new Conversation(host, ENTER_OUTSIDE, '192.0.2.1:8080')
  const udp = new Conversation(host, ENTER_OUTSIDE, '192.0.2.1:8053', 'udp')
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
  await host.waitFor(async () => (await askedOutside('192.0.2.1:8080')) === '192.0.2.2 80', 'the rules to be back')
  await goOn(t, [tcp, udp], 'the rules were taken away')
  tcp.end()
  udp.end()
})

t.test('forwards go with their machine and come back with it', async (t) => {
  await host.run(['systemctl', 'stop', 'test-container-c1'])
  await host.waitFor(async () => (await askedOutside('192.0.2.1:8080')) === '192.0.2.2 443', 'c2 to get the port')
  t.equal(await askedOutside('192.0.2.1:8053', 'udp'), undefined)
  await start('c1')
  t.equal(await askedOutside('192.0.2.1:8053', 'udp'), '192.0.2.2 53')
  t.equal(await askedOutside('192.0.2.1:8080'), '192.0.2.2 443', 'c2 keeps what it has got')
})

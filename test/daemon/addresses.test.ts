import { once } from 'node:events'
import t from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'

const NAME = 'org.freedesktop.machine1'

/** What is set up inside a container; what is no address that others can use is not to be seen. */
const INSIDE = `
ip link set host0 up addrgenmode none
ip address flush dev host0
ip address add 192.0.2.2/24 dev host0
ip address add 192.0.2.1 peer 192.0.2.9 dev host0
ip address add 192.0.2.3/24 dev host0 preferred_lft 0
ip address add 169.254.1.1/16 dev host0 scope link
ip address add 2001:db8::2/64 dev host0 nodad
ip address add 2001:db8::1 peer 2001:db8::9 dev host0 nodad
ip address add 2001:db8::3/64 dev host0 nodad preferred_lft 0
ip address add fe80::1/64 dev host0 nodad
ip link add extra0 type veth peer name extra1
ip link set extra0 up addrgenmode none
ip address add 192.0.2.2/24 dev extra0
ip address add 198.51.100.1/24 dev extra0
`

const host = await TestHost.start({ root: 'testing' })
t.teardown(() => host.stop())
const client = new Client(host)
// The addresses are those that this test sets.
await host.writeFile('/etc/systemd/machined.conf.d/test.conf', '[Network]\nManage=no\n')
await host.run(['systemctl', 'restart', 'systemd-machined.service'])

await host.startContainer('plain', ['--network-veth'])
await host.startContainer('veiled', ['-U', '--network-veth'])
await host.startContainer('shared')
for (const name of ['plain', 'veiled']) {
  // networkd of the guest would take away what it does not know.
  const enter = ['nsenter', '--net', '--target', await client.leader(name)]
  await host.run([...enter, 'sh', '-es'], { input: INSIDE })
}
await client.register('notours', await client.startProcess('notours'))
const vm = ['vm', '0', 'test', 'vm', await client.startProcess('vm'), '/']
await client.call('RegisterMachine', 'sayssus', ...vm)

/** All that callers see of addresses. */
async function answers(): Promise<Record<string, unknown>> {
  const seen: Record<string, unknown> = {}
  for (const name of ['plain', 'veiled', 'shared', 'notours', 'vm', '.host', 'none']) {
    const { stdout, stderr, exitCode } = await client.call('GetMachineAddresses', 's', name)
    seen[name] = { stdout, stderr, exitCode }
  }
  for (const name of ['plain', 'shared']) {
    const path = `/org/freedesktop/machine1/machine/${name}`
    const argv = ['busctl', 'call', NAME, path, `${NAME}.Machine`, 'GetAddresses']
    const { stdout, stderr } = await host.run(argv, { reject: false })
    seen[`object ${name}`] = { stdout, stderr }
  }
  for (const name of ['plain', 'veiled']) seen[`resolved ${name}`] = await client.output('getent', 'ahosts', name)
  return seen
}

await host.useStock()
const stock = await answers()
await host.useOurs()
const ours = await answers()

t.test('answers are those of the stock daemon', (t) => {
  t.strictSame(ours, stock)
  t.end()
})

t.test('containers with a network of their own, with and without users of their own', (t) => {
  const reply = [
    'a(iay) 8',
    '2 4 192 0 2 1',
    '2 4 192 0 2 2',
    '2 4 192 0 2 2',
    '2 4 198 51 100 1',
    '2 4 169 254 1 1',
    '10 16 32 1 13 184 0 0 0 0 0 0 0 0 0 0 0 1',
    '10 16 32 1 13 184 0 0 0 0 0 0 0 0 0 0 0 2',
    '10 16 254 128 0 0 0 0 0 0 0 0 0 0 0 0 0 1'
  ].join(' ')
  for (const name of ['plain', 'veiled', 'object plain']) t.match(ours[name], { stdout: reply, stderr: '' })
  t.end()
})

t.test('no private network, no container, no machine', (t) => {
  t.match(ours['shared'], { stderr: /Machine shared does not use private networking$/ })
  t.match(ours['vm'], { stderr: /Requesting IP address data is only supported on container machines\.$/ })
  t.match(ours['none'], { stderr: /No machine 'none' known$/ })
  t.match(ours['.host'], { stdout: /^a\(iay\) /, exitCode: 0 })
  t.end()
})

t.test('names of machines are resolved by nss-mymachines', (t) => {
  for (const name of ['plain', 'veiled']) {
    t.match(ours[`resolved ${name}`], /^2001:db8::1(%\d+)? +STREAM/m)
    t.match(ours[`resolved ${name}`], /^198\.51\.100\.1 +STREAM/m)
    t.match(ours[`resolved ${name}`], /^fe80::1%\d+ +STREAM/m, 'through the interface that leads there')
  }
  t.end()
})

t.test('machinectl shows them', async (t) => {
  t.match(await client.output('machinectl', 'list', '--no-legend'), /^veiled .* 192\.0\.2\.1/m)
  t.match(await client.output('machinectl', 'status', 'veiled'), /Address: 192\.0\.2\.1\n[ \t]+192\.0\.2\.2\n/)
})

/** The sockets that the daemon has open. */
async function sockets(): Promise<string> {
  const pid = await client.output('systemctl', 'show', '-P', 'MainPID', 'systemd-machined.service')
  return client.output('sh', '-c', 'readlink "/proc/$0/fd"/* | grep ^socket: | sort', pid)
}

async function addressesOf(name: string): Promise<string> {
  return (await client.call('GetMachineAddresses', 's', name)).stdout
}

const CHANGES = [
  { change: 'address add 192.0.2.77/24 dev host0', reply: 'a(iay) 9 2 4 192 0 2 1 ' },
  { change: 'address change 192.0.2.77/24 dev host0 preferred_lft 0', reply: 'a(iay) 8 2 4 192 0 2 1 ' },
  { change: 'link set extra0 name extra2', reply: 'a(iay) 8 2 4 192 0 2 1 ' },
  { change: 'address del 2001:db8::2/64 dev host0', reply: 'a(iay) 7 2 4 192 0 2 1 ' },
  { change: 'link del extra1', reply: 'a(iay) 5 2 4 192 0 2 1 ' },
  { change: 'link set host0 down', reply: 'a(iay) 3 2 4 192 0 2 1 ' },
  { change: 'address flush dev host0', reply: 'a(iay) 0' }
]

t.test('what is known of addresses is asked for again when one changes', async (t) => {
  await addressesOf('veiled')
  const before = await sockets()
  await addressesOf('veiled')
  t.equal(await sockets(), before, 'nothing has changed')
  const enter = ['nsenter', '--net', '--target', await client.leader('veiled'), 'ip']
  for (const { change, reply } of CHANGES) {
    await host.run([...enter, ...change.split(' ')])
    t.equal((await addressesOf('veiled')).slice(0, reply.length), reply, change)
  }
  t.not(await sockets(), before)
})

t.test('a leader that goes to another network has the addresses of that', async (t) => {
  const script = `import os, sys
sys.stdin.readline()
os.setns(os.open(sys.argv[1], os.O_RDONLY), 0x40000000)
print("there", flush=True)
sys.stdin.read()`
  const plain = await client.leader('plain')
  const argv = ['unshare', '--net', 'python3', '-c', script, `/proc/${plain}/ns/net`]
  const leader = host.spawn(['systemd-run', '-q', '--pipe', '--collect', '--unit=wandering', ...argv])
  t.teardown(() => leader.kill('SIGKILL'))
  const pid = async (): Promise<string> => client.output('systemctl', 'show', '-P', 'MainPID', 'wandering.service')
  await host.waitFor(async () => {
    const comm = await host.run(['cat', `/proc/${await pid()}/comm`], { reject: false })
    return comm.stdout === 'python3'
  }, 'the leader')
  t.equal((await client.register('wandering', await pid())).stderr, '')
  t.equal(await addressesOf('wandering'), 'a(iay) 0')
  leader.stdin.write('go\n')
  await once(leader.stdout, 'data')
  t.equal(await addressesOf('wandering'), await addressesOf('plain'))
  t.match(await addressesOf('wandering'), /^a\(iay\) 8 /)
})

t.test('many calls leave the daemon in its own network and without more descriptors', async (t) => {
  const pid = await client.output('systemctl', 'show', '-P', 'MainPID', 'systemd-machined.service')
  const count = async (): Promise<string> => client.output('sh', '-c', 'ls "/proc/$0/fd" | wc -l', pid)
  const before = await count()
  for (let turn = 0; turn < 20; turn++) {
    for (const name of ['veiled', 'shared', 'vm', '.host']) await client.call('GetMachineAddresses', 's', name)
  }
  t.equal(await count(), before)
  t.equal(await client.output('readlink', `/proc/${pid}/ns/net`), await client.output('readlink', '/proc/1/ns/net'))
})

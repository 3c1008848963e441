import t from 'tap'
import { TestHost, type RunResult } from '../host/host.ts'
import { Client } from './client.ts'
import { callOne, MACHINE_SOCKET } from './varlink-client.ts'

// io.machined.Network on both wires and `machinedctl network` (networking.md 7.2).

const INTERFACE = 'io.machined.Network'
const host = await TestHost.start({ root: 'testing' })
t.teardown(() => host.stop())
const client = new Client(host)
await host.run(['useradd', 'alice'])
await host.startContainer('c1', ['--network-veth'])

function ctl(...args: string[]): Promise<RunResult> {
  return host.run(['machinedctl', 'network', ...args], { reject: false })
}

/** What an interface says to varlinkctl; the error's name and parameters in its place. */
async function varlink(member: string, parameters: object = {}, user?: string): Promise<unknown> {
  const { error, parameters: output } = await callOne(host, `${INTERFACE}.${member}`, parameters, user ? { user } : {})
  return { ...(error !== undefined && { error }), ...output }
}

interface Leases {
  leases: { name: string; ipv4: string; ipv6: string; fixed: boolean; lastSeen: number }[]
}

async function leaseOf(name: string): Promise<Leases['leases'][number]> {
  const { leases } = (await varlink('ListLeases')) as Leases
  const found = leases.find((lease) => lease.name === name)
  if (found === undefined) throw new Error(`${name} has no lease`)
  return found
}

async function addresses(): Promise<string> {
  const enter = ['nsenter', '--net', '--target', await client.leader('c1'), '--']
  return client.output(...enter, 'ip', '-o', 'address', 'show', 'dev', 'host0', 'scope', 'global')
}

t.test('varlinkctl shows interface and network', async (t) => {
  const text = await client.output('varlinkctl', '--no-pager', 'introspect', MACHINE_SOCKET, INTERFACE)
  for (const member of [
    'Describe',
    'ListLeases',
    'SetLease',
    'ListForwards',
    'AddForward',
    'RemoveForward',
    'TakeDown'
  ]) {
    t.match(text, `method ${member}(`)
  }
  const json = await client.output('varlinkctl', '-j', 'call', MACHINE_SOCKET, `${INTERFACE}.Describe`, '{}')
  t.match(JSON.parse(json), { bridge: 'machines0', managed: true, networkd: false, machines: ['c1'], files: [] })
  const { subnet4, subnet6 } = JSON.parse(json) as { subnet4: string; subnet6: string }
  const { ipv4, ipv6, fixed, lastSeen } = await leaseOf('c1')
  t.equal(ipv4.replace(/\.\d+$/, ''), subnet4.replace(/\.\d+\/24$/, ''))
  t.equal(ipv6.split('::')[0], subnet6.split('::')[0])
  t.notOk(fixed)
  t.ok(Math.abs(lastSeen / 1000 - Date.now()) < 600_000, 'in microseconds')
})

t.test('forwards are added, listed and removed over Varlink', async (t) => {
  t.strictSame(await varlink('AddForward', { name: 'c1', listen: '8080', target: 80 }), {})
  t.strictSame(await varlink('ListForwards'), { forwards: [{ name: 'c1', listen: 'tcp:8080', target: 80 }] })
  t.match(await varlink('AddForward', { name: 'c2', listen: 'tcp:8000-8090' }), {
    error: `${INTERFACE}.PortTaken`,
    reason: /'c1'/
  })
  t.match(await varlink('AddForward', { name: 'c1', listen: 'sctp:1' }), { error: `${INTERFACE}.BadPort` })
  t.match(await varlink('AddForward', { name: 'no name', listen: '1' }), { parameter: 'name' })
  t.match(await varlink('AddForward', { name: 'c1', listen: '1', target: 65_536 }), { parameter: 'target' })
  t.match(await varlink('RemoveForward', { name: 'c1', listen: '81' }), { error: `${INTERFACE}.NoSuchForward` })
  t.strictSame(await varlink('RemoveForward', { name: 'c1', listen: 'tcp:8080' }), {})
  t.strictSame(await varlink('ListForwards'), { forwards: [] })
})

t.test('only administrators change the network', async (t) => {
  const denied = { error: /PermissionDenied|InteractiveAuthenticationRequired/ }
  t.match(await varlink('AddForward', { name: 'c1', listen: '8080' }, 'alice'), denied)
  t.match(await varlink('RemoveForward', { name: 'c1', listen: '8080' }, 'alice'), denied)
  t.match(await varlink('SetLease', { name: 'c1', ipv4: '10.0.0.9' }, 'alice'), denied)
  t.match(await varlink('TakeDown', {}, 'alice'), denied)
  t.match(await varlink('Describe', {}, 'alice'), { bridge: 'machines0' })
})

t.test('a machine that runs gets other addresses at once, and keeps them', async (t) => {
  const before = await leaseOf('c1')
  const free = `${before.ipv4.replace(/\.\d+$/, '')}.${before.ipv4.endsWith('.77') ? '78' : '77'}`
  t.strictSame(await varlink('SetLease', { name: 'c1', ipv4: free }), {})
  t.match(await leaseOf('c1'), { ipv4: free, ipv6: before.ipv6, fixed: true })
  t.match(await addresses(), `inet ${free}/24`)
  t.notMatch(await addresses(), `inet ${before.ipv4}/24`)
  t.match(await addresses(), `inet6 ${before.ipv6}/64`)
  t.equal((await host.run(['ping', '-n', '-c', '1', '-W', '2', free], { reject: false })).exitCode, 0)
  await host.run(['systemctl', 'stop', 'test-container-c1'])
  await host.startContainer('c1', ['--network-veth'])
  t.match(await addresses(), `inet ${free}/24`)
  t.match(await varlink('SetLease', { name: 'other', ipv4: free }), {
    error: `${INTERFACE}.AddressTaken`,
    reason: /'c1'/
  })
  t.match(await varlink('SetLease', { name: 'c1', ipv4: '8.8.8.8' }), { error: `${INTERFACE}.BadAddress` })
  t.match(await varlink('SetLease', { name: 'c1', ipv4: 'fd00::1' }), { error: `${INTERFACE}.BadAddress` })
  t.match(await leaseOf('c1'), { ipv4: free }, 'what is refused changes nothing')
})

t.test('the command line has all of it', async (t) => {
  const { ipv4, ipv6 } = await leaseOf('c1')
  t.match((await ctl('list')).stdout, /^NETWORK +BRIDGE +IPV4 .*\ndefault +machines0 \d\S+ +fd\S+ +yes +1\n/)
  t.match(
    (await ctl('status', '--json=short')).stdout,
    '"bridge":"machines0","backend":"builtin","managed":true,"networkd":false'
  )
  t.match(JSON.parse((await ctl('leases', '--json=short')).stdout), [
    { name: 'c1', network: 'default', ip4: ipv4, ip6: ipv6, fixed: true }
  ])
  t.equal((await ctl('set-lease', 'other', ipv4.replace(/\.\d+$/, '.99'))).stderr, '')
  t.match((await ctl('leases', '--no-legend')).stdout, /^other +default +\S+\.99 .* yes$/m)
  t.equal((await ctl('forward', 'add', 'other', 'udp:53-55', '1053')).stderr, '')
  t.equal((await ctl('forward', '--no-legend')).stdout, 'other udp:53-55 1053')
  t.strictSame(JSON.parse((await ctl('forward', '--json=short')).stdout), [
    { name: 'other', listen: 'udp:53-55', target: 1053 }
  ])
  t.equal((await ctl('forward', 'remove', 'other', 'udp:53-55')).stderr, '')
  await host.writeFile('/etc/systemd/machined.conf', '[Network]\nManage=auto\n')
  await host.run(['systemctl', 'restart', 'systemd-machined.service'])
  t.equal((await ctl('cat-config')).stdout, '# /etc/systemd/machined.conf\n[Network]\nManage=auto')
})

t.test('what the command line refuses has a status of 1 and says why', async (t) => {
  const refused: Readonly<Record<string, string>> = {
    nothing: "Unknown command verb 'network nothing'.",
    'forward nothing': "Unknown command verb 'network forward nothing'.",
    'forward add c1': 'Too few arguments.',
    'leases c1': 'Too many arguments.',
    'set-lease c1 fd00::1 fd00::2': 'A machine has one address of each family.',
    'set-lease c1 8.8.8.8': 'Failed to set the lease: Address is not one that the network can give away',
    'set-lease -x c1': "machinedctl: unrecognized option '-x'",
    'forward remove c1 1': "Failed to remove the forward: Machine 'c1' has no forward of port tcp:1",
    'take-down': 'Failed to take down the network: Machines are using the network'
  }
  for (const [words, message] of Object.entries(refused)) {
    const { exitCode, stderr, stdout } = await ctl(...words.split(' '))
    t.strictSame({ exitCode, stderr, stdout }, { exitCode: 1, stderr: message, stdout: '' }, words)
  }
})

t.test('a lease goes with an image that is renamed or removed, and is not cloned', async (t) => {
  const names = async (): Promise<string[]> => ((await varlink('ListLeases')) as Leases).leases.map(({ name }) => name)
  await host.run(['mkdir', '/var/lib/machines/before'])
  t.equal((await ctl('set-lease', 'before', (await leaseOf('c1')).ipv4.replace(/\.\d+$/, '.98'))).stderr, '')
  const { ipv4, ipv6 } = await leaseOf('before')
  await host.run(['machinectl', 'rename', 'before', 'after'])
  t.match(await leaseOf('after'), { ipv4, ipv6, fixed: true })
  t.notOk((await names()).includes('before'))
  await host.run(['machinectl', 'clone', 'after', 'twin'])
  t.notOk((await names()).includes('twin'))
  await host.run(['systemctl', 'restart', 'systemd-machined.service'])
  t.match(await leaseOf('after'), { ipv4, ipv6 }, 'so it is on disk')
  await host.run(['machinectl', 'remove', 'after'])
  t.notOk((await names()).includes('after'))
})

t.test('completion in bash', async (t) => {
  const complete = (line: string): Promise<string> =>
    client.output(
      'bash',
      '-c',
      `
      . /usr/local/share/bash-completion/completions/machinedctl
      compopt() { :; }
      COMP_WORDS=(${line}) COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
      _machinedctl
      echo "\${COMPREPLY[@]}"`
    )
  await ctl('forward', 'add', 'c1', '8080')
  t.equal(await complete("machinedctl network ''"), 'list status leases set-lease forward take-down cat-config')
  t.equal(await complete("machinedctl --no-pager network set-lease ''"), 'c1 other')
  t.equal(await complete("machinedctl network forward ''"), 'add remove')
  t.equal(await complete("machinedctl network forward remove ''"), 'c1 other')
  t.equal(await complete("machinedctl network forward remove c1 ''"), 'tcp:8080')
  t.equal(await complete("machinedctl network forward remove other ''"), '')
  t.equal(await complete("machinedctl network leases ''"), '')
  t.equal(await complete("machinedctl network status ''"), 'default')
})

t.test('without machines the network can be taken down at once', async (t) => {
  await host.run(['systemctl', 'stop', 'test-container-c1'])
  await client.waitTillGone('c1')
  t.equal((await ctl('take-down')).stderr, '')
  t.notMatch(await client.output('ip', '-o', 'link'), 'machines0')
  t.equal(await client.output('nft', 'list', 'tables'), '')
  t.match((await leaseOf('c1')).fixed, true, 'leases stay')
})

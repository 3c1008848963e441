import t from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'
import { followLinks } from './link-monitor.ts'
import { netlinkProtocols } from './stress.ts'

// What the daemon leaves alone: links that others see to, and all of them where that is configured (networking.md 7.2, 7.5).

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
const UNIT = 'systemd-machined.service'
const DROP_IN = '/run/systemd/machined.conf.d/test.conf'

async function manage(value: 'auto' | 'yes' | 'no'): Promise<void> {
  await host.writeFile(DROP_IN, `[Network]\nManage=${value}\n`)
  await host.run(['systemctl', 'restart', UNIT])
}

/** The protocols of the sockets that are for networks. */
async function sockets(): Promise<string[]> {
  return (await netlinkProtocols(host)).filter((protocol) => ['0', '12'].includes(protocol))
}

/** The settings of the host that routing needs, but for those of links that come and go. */
async function settings(): Promise<string> {
  const names = 'conf\\.(all|default|lo)\\.|ip_forward'
  return client.output('sysctl', '-a', '-e', '--pattern', `^net\\.ipv[46]\\.(${names})`)
}

/** What of ours there is on the host: links with our tag, tables, files. */
async function traces(): Promise<string[]> {
  const links = (await client.output('ip', '-d', '-o', 'link')).split('\n').filter((line) => line.includes('machined:'))
  const tables = (await client.output('nft', 'list', 'tables')).split('\n').filter((line) => line.includes('machined'))
  const paths = [
    'sysctl.d/60-machined.conf',
    'systemd/network/79-machined.network',
    'NetworkManager/conf.d/79-machined.conf'
  ]
  const { stdout } = await host.run(['ls', ...paths.map((path) => `/run/${path}`)], { reject: false })
  const files = stdout.split('\n')
  return [...links, ...tables, ...files].filter((line) => line !== '')
}

async function hasAddress(name: string): Promise<boolean> {
  const enter = ['nsenter', '--net', '--target', await client.leader(name), '--']
  return /inet \d/.test(await client.output(...enter, 'ip', '-o', '-4', 'address', 'show', 'scope', 'global'))
}

async function managed(): Promise<boolean> {
  return (await client.output('machinedctl', 'network')).includes('Managed: yes')
}

t.test('with Manage=no no socket is opened and nothing is set', async (t) => {
  const before = await settings()
  await manage('no')
  await host.startContainer('c1', ['--network-veth'])
  t.strictSame(await sockets(), [])
  t.equal(await settings(), before)
  t.strictSame(await traces(), [])
  t.match(await client.output('ip', '-o', 'link', 'show', 'dev', 've-c1'), /state DOWN/)
  t.notOk(await hasAddress('c1'))
})

t.test('a port of another bridge stays there', async (t) => {
  await host.run(['ip', 'link', 'add', 'br9', 'type', 'bridge'])
  await host.run(['ip', 'link', 'set', 've-c1', 'master', 'br9'])
  await manage('auto')
  await host.startContainer('c2', ['--network-bridge=br9'])
  t.ok(await managed())
  for (const link of ['ve-c1', 'vb-c2']) {
    t.match(await client.output('ip', '-o', 'link', 'show', 'dev', link), /master br9/)
  }
  t.notOk(await hasAddress('c1'))
  t.notOk(await hasAddress('c2'))
  t.strictSame(await traces(), [])
})

/** Registers a process of the host as a machine with an interface, as root may. */
async function register(name: string, link: string): Promise<void> {
  await host.run(['systemd-run', '-q', `--unit=${name}`, 'sleep', 'infinity'])
  const leader = await client.output('systemctl', 'show', `${name}.service`, '--property=MainPID', '--value')
  const index = await client.output('cat', `/sys/class/net/${link}/ifindex`)
  const identity = [name, '0', 'test', 'container', leader, '']
  const { stderr } = await client.call('RegisterMachineWithNetwork', 'sayssusai', ...identity, '1', index)
  if (stderr !== '') throw new Error(stderr)
}

t.test('links that are no veth of a machine are left alone', async (t) => {
  await host.run(['ip', 'link', 'add', 've-x1', 'type', 'bridge'])
  await host.run(['ip', 'link', 'add', 've-x2', 'type', 'veth', 'peer', 'name', 'other2'])
  await host.run(['ip', 'link', 'add', 'lxc-x3', 'type', 'veth', 'peer', 'name', 'other3'])
  await register('x1', 've-x1')
  await register('x2', 've-x2')
  await register('x3', 'lxc-x3')
  await host.startContainer('c3')
  t.strictSame(await traces(), [], 'nor is there a network for one that shares the network of the host')
  for (const link of ['ve-x1', 've-x2', 'lxc-x3']) {
    const shown = await client.output('ip', '-o', 'link', 'show', 'dev', link)
    t.match(shown, /state DOWN/)
    t.notMatch(shown, /master/)
  }
})

/** What systemd-networkd does with a link: `configuring`, `configured`, `unmanaged` … */
async function setupState(link: string): Promise<string> {
  const lines = (await client.output('networkctl', 'list', '--no-legend', '--no-pager')).split('\n')
  return (
    lines
      .find((line) => line.includes(` ${link} `))
      ?.trim()
      .split(/\s+/)
      .at(-1) ?? ''
  )
}

t.test('where systemd-networkd runs, the links are its own', async (t) => {
  // It waits for udev else, which there is none of.
  await host.run(['mount', '-o', 'remount,bind,ro', '/sys'])
  await host.run(['systemctl', 'start', 'systemd-networkd.service'])
  await host.waitFor(async () => !(await managed()), 'the daemon to see systemd-networkd')
  await host.startContainer('c4', ['--network-veth'])
  t.strictSame(await traces(), [])
  await host.waitFor(
    async () => (await setupState('ve-c4')).startsWith('configur'),
    'systemd-networkd to take the link'
  )
  t.notOk(await hasAddress('c4'))
})

t.test('with Manage=yes they are taken over from it, and neither link nor address flaps', async (t) => {
  const enter = ['nsenter', '--net', '--target', await client.leader('c4'), '--']
  const isUp = async (): Promise<boolean> =>
    (await client.output('ip', '-o', 'link', 'show', 'dev', 've-c4')).includes(' state UP ')
  // In there nobody has put it up yet, without which the host's end has no carrier.
  await host.run([...enter, 'ip', 'link', 'set', 'host0', 'up'])
  await host.waitFor(isUp, 'the link to be up')
  const [outside, inside] = [await followLinks(host), await followLinks(host, ...enter)]
  await manage('yes')
  await host.waitFor(() => hasAddress('c4'), 'the machine to have an address of ours')
  t.match(await client.output('ip', '-o', 'link', 'show', 'dev', 've-c4'), /master machines0/)
  await host.waitFor(
    async () => (await setupState('ve-c4')) === 'unmanaged',
    'systemd-networkd to leave the link alone'
  )
  const isDown = (line: string): boolean => /state (?:DOWN|LOWERLAYERDOWN)|NO-CARRIER|^Deleted \d+: ve-c4@/.test(line)
  const events = await outside()
  t.ok(
    events.some((line) => line.includes(' ve-c4@') && line.includes('master machines0')),
    'it came to the bridge'
  )
  t.strictSame(
    events.filter((line) => line.includes(' ve-c4@') && isDown(line)),
    [],
    'the link never went down'
  )
  t.strictSame(
    (await inside()).filter((line) => line.includes('host0') && (isDown(line) || /^Deleted.* global/.test(line))),
    [],
    'nor did an address go that was given'
  )
  t.strictSame(new Set(await sockets()), new Set(['0', '12']), 'now there are sockets')
})

t.test('with Manage=no what was ours is given back to it, and no socket stays', async (t) => {
  await manage('no')
  const isTaken = async (): Promise<boolean> => (await setupState('ve-c4')).startsWith('configur')
  await host.waitFor(isTaken, 'systemd-networkd to take the link')
  await host.waitFor(async () => (await traces()).length === 0, 'nothing of ours to be left')
  await host.waitFor(async () => (await sockets()).length === 0, 'sockets to be closed')
  t.strictSame(await sockets(), [])
})

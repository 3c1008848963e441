import t, { type Test } from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'
import { followLinks } from './link-monitor.ts'

// What machines see of their network while they start and while systemd-networkd runs in them or on the host: nothing
// that they have goes away (networking.md 2.3, 2.4, 7.1, 7.3).

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
const UNIT = 'systemd-machined.service'

/** Lets systemd-networkd run in a container that is started later. */
async function useNetworkd(name: string): Promise<void> {
  const wants = `/run/test-host/containers/${name}/upper/etc/systemd/system/multi-user.target.wants`
  const script = 'mkdir -p "$0" && ln -s /usr/lib/systemd/system/systemd-networkd.service "$0"'
  await host.run(['sh', '-ec', script, wants])
}

async function inside(name: string, ...argv: string[]): Promise<string> {
  return client.output('nsenter', '--net', '--target', await client.leader(name), '--', ...argv)
}

async function addresses(name: string): Promise<string[]> {
  const text = await inside(name, 'ip', '-o', 'address', 'show', 'dev', 'host0', 'scope', 'global')
  return Array.from(text.matchAll(/inet6? ([\da-f.:]+)\//g), ([, address = '']) => address)
}

async function leaseOf(name: string): Promise<string[]> {
  const rows = JSON.parse(await client.output('machinedctl', 'network', 'leases', '--json=short')) as {
    name: string
    ip4: string
    ip6: string
  }[]
  const lease = rows.find((row) => row.name === name)
  return lease === undefined ? [] : [lease.ip4, lease.ip6]
}

async function losesNothing(t: Test, enter: readonly string[], work: () => Promise<unknown>): Promise<void> {
  const seen = await followLinks(host, ...enter)
  await work()
  const isLoss = (line: string): boolean => /^Deleted|state (?:DOWN|LOWERLAYERDOWN)|NO-CARRIER/.test(line)
  t.strictSame(
    (await seen()).filter((line) => isLoss(line) && !/ff00::|multicast/.test(line)),
    []
  )
}

t.test('the first process of a container finds its addresses', async (t) => {
  const files = ['/proc/net/fib_trie', '/proc/net/if_inet6', '/proc/net/route']
  const nspawn = ['systemd-nspawn', '-q', '-D', '/run/test-host/guest', '--read-only', '-M', 'early', '--register=yes']
  const seen = await client.output(...nspawn, '--network-veth', '--pipe', '/bin/cat', ...files)
  const [ip4 = '', ip6 = ''] = await leaseOf('early')
  t.match(seen, ` ${ip4}\n`)
  const groups = ip6.split('::').map((half) =>
    half
      .split(':')
      .map((group) => group.padStart(4, '0'))
      .join('')
  )
  t.match(seen, new RegExp(`^${groups[0] ?? ''}0*${groups[1] ?? ''} .* host0$`, 'm'))
  t.match(seen, /^host0\t00000000\t/m, 'and the default route')
})

t.test('a container that runs systemd-networkd keeps them', async (t) => {
  await useNetworkd('guest')
  await host.startContainer('guest', ['-U', '--network-veth'])
  const state = async (): Promise<string> =>
    (
      await host.run(['systemd-run', '-q', '-M', 'guest', '--pipe', '--wait', 'networkctl', 'status', 'host0'], {
        reject: false
      })
    ).stdout
  await host.waitFor(async () => (await state()).includes('(configured)'), 'networkd in there to be done')
  t.match(await state(), /Network File: \/run\/systemd\/network\/79-machined-host0.network/)
  t.strictSame((await addresses('guest')).sort(), (await leaseOf('guest')).sort(), 'and has no others')
  const enter = ['nsenter', '--net', '--target', await client.leader('guest'), '--']
  await losesNothing(t, enter, async () => {
    await host.run(['systemd-run', '-q', '-M', 'guest', '--pipe', '--wait', 'networkctl', 'reload'])
    await host.run(['systemctl', 'restart', UNIT])
    await host.run(['systemctl', 'reload-or-restart', '--signal=HUP', UNIT], { reject: false })
  })
  t.strictSame((await addresses('guest')).sort(), (await leaseOf('guest')).sort())
})

t.test('what somebody does to the host’s side is undone on SIGHUP', async (t) => {
  const bridge = async (): Promise<string> => client.output('ip', '-o', 'link', 'show', 'dev', 've-guest')
  await host.run(['ip', 'link', 'set', 've-guest', 'nomaster'])
  await host.run(['ip', 'link', 'set', 've-guest', 'alias', 'mine'])
  await host.run(['ip', 'link', 'set', 've-guest', 'down'])
  await host.run(['systemctl', 'kill', '--signal=HUP', UNIT])
  await host.waitFor(async () => /master machines0.* state UP/.test(await bridge()), 'the port to be one again')
  t.match(await bridge(), 'alias machined:machine=guest')
  await host.run(['ip', 'link', 'delete', 'machines0'])
  await host.run(['systemctl', 'kill', '--signal=HUP', UNIT])
  await host.waitFor(async () => /master machines0.* state UP/.test(await bridge()), 'the bridge to be there again')
  const [ip4 = ''] = await leaseOf('guest')
  t.equal((await host.run(['ping', '-n', '-c', '1', '-W', '5', ip4], { reject: false })).exitCode, 0)
})

t.test(
  'a route that comes later and overlaps the subnet is told of; without machines another subnet is taken',
  async (t) => {
    const subnet = (await leaseOf('guest'))[0]?.replace(/\.\d+$/, '') ?? ''
    const status = (): Promise<string> => client.output('machinedctl', 'network', '--json=short')
    t.notMatch(await status(), 'conflict')
    await host.run(['ip', 'link', 'add', 'vpn0', 'type', 'bridge'])
    await host.run(['ip', 'link', 'set', 'vpn0', 'up'])
    await host.run(['ip', 'route', 'add', `${subnet}.128/25`, 'dev', 'vpn0', 'table', '77'])
    t.match(await status(), `"conflict":"${subnet}.128/25"`)
    const log = (): Promise<string> => client.output('journalctl', '-u', UNIT, '--no-pager', '-o', 'cat')
    await host.waitFor(
      async () => (await log()).includes(`The subnet of network 'default' overlaps ${subnet}.128/25`),
      'it to be in the log'
    )
    t.strictSame((await addresses('guest')).sort(), (await leaseOf('guest')).sort(), 'machines that run keep theirs')
    await host.run(['systemctl', 'restart', UNIT])
    t.strictSame((await addresses('guest')).sort(), (await leaseOf('guest')).sort(), 'also when the daemon starts anew')
    await host.run(['systemctl', 'stop', 'test-container-guest'])
    await client.waitTillGone('guest')
    await host.run(['machinedctl', 'network', 'take-down'])
    await host.startContainer('guest', ['-U', '--network-veth'])
    t.notMatch((await addresses('guest')).join(' '), `${subnet}.`)
    t.notMatch(await status(), 'conflict')
  }
)

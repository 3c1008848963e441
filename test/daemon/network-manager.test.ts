import t from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'
import { NetworkLeader } from './network-leader.ts'

// Networks of machines beside NetworkManager (networking.md 7.8).

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
const machine = new NetworkLeader(host, client)
const FILE = '/run/NetworkManager/conf.d/79-machined.conf'
await machine.prepare()
// It waits for udev else, which there is none of.
await host.run(['mount', '-o', 'remount,bind,ro', '/sys'])
// One of its own, to see that it does see to links, and that what an administrator lists stays.
const list = '[main]\nplugins=keyfile\n[keyfile]\nunmanaged-devices=interface-name:kept*\n'
await host.writeFile('/usr/lib/NetworkManager/conf.d/10-test.conf', list)
await host.writeFile('/etc/NetworkManager/NetworkManager.conf', '')
await host.run([
  'sh',
  '-ec',
  'ip link add kept0 type veth peer name other0; ip link set kept0 up; ip link set other0 up'
])

/** What it does with each link. */
async function states(): Promise<Record<string, string>> {
  const lines = (await client.output('nmcli', '-t', '-f', 'DEVICE,STATE', 'device')).split('\n')
  return Object.fromEntries(lines.map((line) => line.split(':') as [string, string]))
}

async function leavesAlone(...names: string[]): Promise<void> {
  const isSo = async (): Promise<boolean> => {
    const found = await states()
    return names.every((name) => found[name] === 'unmanaged')
  }
  await host.waitFor(isSo, `NetworkManager to leave ${names.join(', ')} alone`)
}

t.test('it is told of links when it runs already, and again when they are gone', async (t) => {
  await host.run(['systemctl', 'start', 'NetworkManager.service'])
  await host.waitFor(async () => !['unmanaged', undefined].includes((await states())['other0']), 'it to see to a link')
  await leavesAlone('kept0')
  const leader = await machine.start()
  await host.waitFor(async () => !['unmanaged', undefined].includes((await states())['ve-m1']), 'it to see to ve-m1')
  t.equal((await machine.register(leader)).stderr, '')
  await leavesAlone('machines0', 've-m1', 'kept0')
  t.match(await client.output('ip', '-o', 'link', 'show', 'dev', 've-m1'), /master machines0 state UP/)
  await machine.end()
  t.equal((await host.run(['cat', FILE], { reject: false })).stdout, '')
  await host.run(['ip', 'link', 'add', 've-x1', 'type', 'veth', 'peer', 'name', 'other1'])
  await host.waitFor(async () => !['unmanaged', undefined].includes((await states())['ve-x1']), 'it to see to ve-x1')
  await leavesAlone('kept0')
  t.match(await states(), { kept0: 'unmanaged' })
})

t.test('and when it starts later', async (t) => {
  await host.run(['systemctl', 'stop', 'NetworkManager.service'])
  t.equal((await machine.register(await machine.start())).stderr, '')
  await host.run(['systemctl', 'start', 'NetworkManager.service'])
  await host.waitFor(async () => !['unmanaged', undefined].includes((await states())['other0']), 'it to see to a link')
  t.match(await states(), { machines0: 'unmanaged', 've-m1': 'unmanaged', 've-x1': 'unmanaged', kept0: 'unmanaged' })
  t.equal(
    await host.readFile(FILE),
    `# Written by machined.\n[keyfile]\nunmanaged-devices+=interface-name:machines0,interface-name:ve-*\n`
  )
  await machine.end()
})

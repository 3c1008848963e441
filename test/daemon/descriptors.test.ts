import t, { type Test } from 'tap'
import { TestHost } from '../host/host.ts'
import { daemonPid, openDescriptors, startLeaders, stressClient } from './stress.ts'

const CALLS = 10_000

const host = await TestHost.start()
t.teardown(() => host.stop())
const stress = await stressClient(host)
const [leader = '', other = ''] = await startLeaders(host, 2)
await host.run(['systemctl', 'start', 'systemd-machined.service'])

/** Runs the client once to warm up, then again: the daemon's descriptors must be as many as before, its process the same. */
async function leavesNone(t: Test, action: string, count: number, leader = ''): Promise<void> {
  await stress(action, 1, leader)
  const pid = await daemonPid(host)
  const before = await openDescriptors(host)
  await stress(action, count, leader)
  await host.waitFor(async () => (await openDescriptors(host)) <= before, 'the descriptors to be closed')
  t.equal(await openDescriptors(host), before)
  t.equal(await daemonPid(host), pid)
}

t.test(`${CALLS} calls with descriptors that nobody wants leave none`, (t) => leavesNone(t, 'unwanted', CALLS))

t.test('registrations by descriptor leave none, whether they succeed or fail', (t) =>
  leavesNone(t, 'registrations', 100, leader)
)

t.test('clients that send descriptors and disconnect leave none', (t) => leavesNone(t, 'vanish', 300, leader))

t.test("descriptors among a scope's properties stay those of their message", (t) => leavesNone(t, 'create', 100, other))

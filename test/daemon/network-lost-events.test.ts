import t from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'
import { NetworkLeader } from './network-leader.ts'
import { rulesSeen } from './rule-monitor.ts'

// What somebody did while the daemon could not notice is put right before the next of the looks that come every 30 s
// (networking.md 7.11).

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
const machine = new NetworkLeader(host, client)
await machine.prepare()
const leader = await machine.start()
await machine.register(leader)
const UNIT = 'systemd-machined.service'
/** Between two looks. */
const HOLD_MS = 30_000

async function isPort(): Promise<boolean> {
  return (await client.output('ip', '-o', 'link', 'show', 'dev', 've-m1')).includes('master machines0')
}

/** Starts the daemon anew, and gives the time when that was; it has looked at all when it makes the rules for the second time. */
async function start(): Promise<number> {
  let time = 0
  await rulesSeen(host, async (soFar) => {
    time = performance.now()
    await host.run(['systemctl', 'restart', UNIT])
    await host.waitFor(() => soFar().split('add table bridge machined').length > 2, 'the rules to be made twice')
  })
  return time
}

/** Takes the port out of the bridge and does something else; gives how long after the daemon's start the port was back. */
async function putRight(work: () => Promise<unknown>): Promise<number> {
  const started = await start()
  await host.run(['ip', 'link', 'set', 've-m1', 'nomaster'])
  await work()
  await host.waitFor(isPort, 'the port to be back')
  return performance.now() - started
}

t.test('more events than there is room for', async (t) => {
  const routes = `
    systemctl kill --signal=STOP ${UNIT}
    ip route add 198.51.100.0/24 dev lo
    for verb in $(seq 200); do
      for metric in $(seq 100); do
        echo "route add 203.0.113.0/24 dev lo metric $metric"
        echo "route delete 203.0.113.0/24 dev lo metric $metric"
      done
    done | ip -batch -
    systemctl kill --signal=CONT ${UNIT}`
  const ms = await putRight(() => host.run(['sh', '-ec', routes]))
  t.ok(ms < HOLD_MS, `after ${ms} ms`)
})

t.test('the host has slept', async (t) => {
  const sleep = `
    mount -t tmpfs power /sys/power
    echo mem >/sys/power/state
    echo s2idle >/sys/power/mem_sleep
    systemctl restart systemd-logind.service`
  // All of it is real, but for what the kernel would do.
  const unit = '/run/systemd/system/systemd-suspend.service.d/test.conf'
  await host.writeFile(unit, '[Service]\nExecStart=\nExecStart=/bin/true\n')
  await host.run(['systemctl', 'daemon-reload'])
  await host.run(['sh', '-ec', sleep])
  const ms = await putRight(() => host.run(['systemctl', 'suspend']))
  t.ok(ms < HOLD_MS, `after ${ms} ms`)
})

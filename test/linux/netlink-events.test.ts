import { execFileSync } from 'node:child_process'
import t from 'tap'
import { NetworkNamespace } from '../../daemon/linux/namespace.ts'
import { KernelEvents, type KernelEvent } from '../../daemon/linux/netlink-events.ts'
import { NETLINK_ROUTE } from '../../daemon/linux/netlink-request.ts'
import { ThrowAwayNetwork } from './throw-away-network.ts'

const RTNLGRP_LINK = 1
const RTM_NEWLINK = 16
const EVENTS = 10_000

void t.test(
  'a flood of events that nobody can read in time is survived',
  { skip: process.getuid?.() !== 0 && 'needs root' },
  async (t) => {
    const network = await ThrowAwayNetwork.start('ip link add d0 type veth peer name d1')
    using own = new NetworkNamespace()
    const seen: number[] = []
    let losses = 0
    const listener = {
      deliver: (batch: readonly KernelEvent[]) => {
        seen.push(...batch.map(({ type }) => type))
      },
      lost: () => {
        losses++
      }
    }
    const events = own.inside(network.process, () => new KernelEvents(NETLINK_ROUTE, [RTNLGRP_LINK], listener))
    t.teardown(() => {
      events?.close()
      return network.stop()
    })
    const enter = ['--net', '--target', String(network.process.pid), 'ip', '-batch', '-']
    const change = (count: number): void => {
      const input = Array.from({ length: count }, (_, index) => `link set d0 mtu ${String(1400 + (index % 2))}\n`)
      execFileSync('nsenter', enter, { input: input.join('') })
    }
    change(1)
    await until(() => seen.length > 0)
    t.equal(losses, 0)
    seen.length = 0
    // Meanwhile this thread reads nothing; 8 MiB hold some thousands of events.
    change(EVENTS)
    t.equal(seen.length, 0)
    await until(() => seen.length > 1000)
    t.equal(losses, 1, 'which is told once')
    const before = seen.length
    change(1)
    await until(() => seen.length > before)
    t.ok(seen.length < EVENTS, 'some were lost, or this proves nothing')
    t.ok(seen.every((type) => type === RTM_NEWLINK))
  }
)

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve))
}

import t, { type Test } from 'tap'
import { NetworkNamespace } from '../../daemon/linux/namespace.ts'
import { NEWGEN, NFGENMSG_LENGTH } from '../../daemon/linux/netfilter.ts'
import { KernelEvents, type KernelEvent } from '../../daemon/linux/netlink-events.ts'
import { NETLINK_NETFILTER } from '../../daemon/linux/netlink-request.ts'
import { PidRef } from '../../daemon/linux/process.ts'
import { TestHost, type RunResult } from '../host/host.ts'
import { Client } from './client.ts'
import { rulesSeen } from './rule-monitor.ts'
import { daemonPid, netlinkProtocols } from './stress.ts'

// How rules get into the kernel: by an nft that waits for them as long as there are machines (networking.md 7.6, 7.8).

const NFNLGRP_NFTABLES = 7
const [NEWTABLE, DELTABLE] = [0x0a00, 0x0a02]
const FLUSHES = 12
const WRAPPER = '/usr/local/sbin/nft'

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
const UNIT = 'systemd-machined.service'

/** The PIDs of the daemon's nfts. */
async function nfts(): Promise<string[]> {
  const { stdout } = await host.run(['pgrep', '-x', '-P', String(await daemonPid(host)), 'nft'], { reject: false })
  return stdout.split('\n').filter((line) => line !== '')
}

function forward(verb: 'add' | 'remove', ...args: string[]): Promise<RunResult> {
  return host.run(['machinedctl', 'network', 'forward', verb, 'c1', ...args], { reject: false })
}

/** Adds a forward, and sees that it is in effect by then. */
async function added(t: Test, port: number, what: string): Promise<void> {
  t.equal((await forward('add', String(port), '80')).stderr, '', what)
  t.match(await client.output('nft', 'list', 'map', 'inet', 'machined', 'free4_port'), `tcp . ${port} : 80`, what)
}

await host.startContainer('c1', ['--network-veth'])
await host.waitFor(async () => (await nfts()).length === 1, 'an nft to wait')

t.test('one nft makes all changes, and changes what differs alone', async (t) => {
  const before = await nfts()
  const text = await rulesSeen(host, async () => {
    await added(t, 8001, 'the first')
    await added(t, 8002, 'the second')
    t.equal((await forward('remove', '8001')).stderr, '')
    await host.startContainer('c2', ['--network-veth'])
    await host.run(['systemctl', 'stop', 'test-container-c2'])
    await client.waitTillGone('c2')
  })
  t.strictSame(await nfts(), before)
  t.match(text, 'add element inet machined free4_port { tcp . 8002 : 80 }')
  t.match(text, 'delete element inet machined free4_port { tcp . 8001')
  t.match(text, /add element bridge machined ports \{ "ve-c2" \}/)
  t.notMatch(text, /table (?:inet|bridge) machined/)
})

t.test('an nft that was killed, or hangs, is replaced', async (t) => {
  const [first = ''] = await nfts()
  await host.run(['kill', '-KILL', first])
  await host.waitFor(async () => (await nfts()).length === 0, 'it to be gone')
  await added(t, 8003, 'with none')
  await added(t, 8004, 'with another one')
  const [second = ''] = await nfts()
  t.ok(second !== '' && second !== first)
  await host.run(['kill', '-STOP', second])
  await added(t, 8005, 'with one that hangs')
  await added(t, 8006, 'with a third one')
  t.notOk((await nfts()).includes(second))
})

t.test('one that cannot wait, as some builds, does as well', async (t) => {
  const [waiting = ''] = await nfts()
  await host.writeFile(WRAPPER, '#!/bin/sh\n[ "$1" != -i ] || exit 1\nexec /usr/sbin/nft "$@"\n')
  await host.run(['chmod', '+x', WRAPPER])
  await host.run(['kill', '-KILL', waiting])
  await host.waitFor(async () => (await nfts()).length === 0, 'the other to be gone')
  for (const port of [8007, 8008]) await added(t, port, 'one document each')
  await host.writeFile(WRAPPER, '#!/bin/sh\necho "Error: not today" >&2\nexit 1\n')
  t.match((await forward('add', '8009', '80')).stderr, /Failed to apply rules: Error: not today/)
  await host.run(['rm', WRAPPER])
  await added(t, 8010, 'once it works again')
  t.match(await client.output('nft', 'list', 'map', 'inet', 'machined', 'free4_port'), 'tcp . 8009 : 80')
})

/** Calls back when both tables of ours are gone, and when both are there anew, in the words of the kernel's events. */
class TableWatch {
  #made = new Set<number>()
  #gone = new Set<number>()
  readonly #tell: (event: 'gone' | 'made') => void

  constructor(tell: (event: 'gone' | 'made') => void) {
    this.#tell = tell
  }

  see({ type, body }: KernelEvent): void {
    const [family, isOurs] = [body.readUInt8(0), body.subarray(NFGENMSG_LENGTH).includes('machined\0')]
    if (type === NEWTABLE && isOurs) this.#made.add(family)
    else if (type === DELTABLE && isOurs) this.#gone.add(family)
    else if (type === NEWGEN) {
      if (this.#made.size === 2) this.#tell('made')
      else if (this.#gone.size === 2) this.#tell('gone')
      this.#made.clear()
      this.#gone.clear()
    }
  }
}

t.test('rules that are flushed are there again within 100 ms', async (t) => {
  using own = new NetworkNamespace()
  using init = PidRef.pin(host.pid)
  let [gone, made] = [0, 0]
  const watch = new TableWatch((event) => {
    if (event === 'gone') gone = performance.now()
    else made = performance.now()
  })
  const deliver = (batch: readonly KernelEvent[]): void => {
    for (const event of batch) watch.see(event)
  }
  const events = own.inside(
    init,
    () => new KernelEvents(NETLINK_NETFILTER, [NFNLGRP_NFTABLES], { deliver, lost: () => undefined })
  )
  t.teardown(() => events?.close())
  let best = Infinity
  // Each fourth is put back only after a pause, and this machine may be busy.
  for (let flush = 0; flush < FLUSHES && best > 100; flush++) {
    made = 0
    await host.run(['nft', 'flush', 'ruleset'])
    await host.waitFor(() => Promise.resolve(made > 0), 'the rules to be put back')
    best = Math.min(best, made - gone)
  }
  t.ok(best <= 100, `it took ${best.toFixed(1)} ms`)
  t.comment(`there again within ${best.toFixed(1)} ms`)
})

t.test('nothing of that was taken for the work of others', async (t) => {
  t.notMatch(await client.output('journalctl', '-u', UNIT, '-o', 'cat'), /again and again|Failed/)
})

t.test('after the last machine no nft waits, and no socket is open', async (t) => {
  await host.run(['systemctl', 'stop', 'test-container-c1'])
  await host.waitFor(async () => (await nfts()).length === 0, 'nft to be gone')
  const sockets = async (): Promise<string[]> =>
    (await netlinkProtocols(host)).filter((protocol) => ['0', '12'].includes(protocol))
  await host.waitFor(async () => (await sockets()).length === 0, 'sockets to be closed')
  t.strictSame(await sockets(), [])
  t.equal((await host.run(['ls', '/run/machined/network'])).stdout, 'forwards.json')
})

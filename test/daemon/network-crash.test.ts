import t, { type Test } from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'
import { killedAt } from './daemon-trace.ts'
import { NetworkLeader } from './network-leader.ts'

// The daemon is killed at each step of giving a machine its network, and of taking it away (networking.md 7.11). strace
// counts the steps: a request to rtnetlink is a sendto(2), a file that is replaced a rename(2), and what nft is told a write(2).

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
const UNIT = 'systemd-machined.service'
const KINDS = ['sendto', 'rename', 'write'] as const

/** What is not ours, and is to be as it was whatever happens. */
const FOREIGN = `
ip link add br9 type bridge
ip link set br9 up
ip address add 198.51.100.1/24 dev br9
ip link add ve-other type veth peer name other0
ip link set ve-other master br9 alias machined-like group 7
nft add table inet other
nft add chain inet other c '{ type filter hook forward priority 0; }'
nft add rule inet other c iifname br9 counter accept
`
await host.writeFile(`/run/systemd/system/${UNIT}.d/test.conf`, '[Unit]\nStartLimitIntervalSec=0\n')
const machine = new NetworkLeader(host, client)
await machine.prepare()
// One whose name is cut takes most steps.
const NETWORK = 'a-network-with-a-long-name'
await host.writeFile(`/etc/machined/networks/${NETWORK}.conf`, '[Network]\n')
await host.writeFile('/etc/machined/machines/m1.conf', `[Network]\nNetwork=${NETWORK}\n`)
await host.run(['sh', '-es'], { input: FOREIGN })

/** All that there is of networks, on the host and in the machine, but for numbers that are never the same. */
async function state(leader?: string): Promise<string> {
  const look = 'ip -o link; ip -o address; ip route; ip -6 route'
  const script = `
    nft --stateless list ruleset
    ${look}
    ls /run/machined/network /run/systemd/network /run/sysctl.d /run/systemd/machines
    ${leader === undefined ? '' : `nsenter --net --target ${leader} -- sh -c '${look}'`}`
  const { stdout } = await host.run(['sh', '-c', script], { reject: false })
  return stdout
    .replace(/^\d+: /gm, '')
    .replace(/@if\d+|link-netnsid \d+| (?:preferred_lft|valid_lft|expires) +\S+/g, '')
    .replace(/<[A-Z,_]*>/g, (flags) => flags.replace(/,?(?:NO-CARRIER|LOWER_UP)/g, ''))
}

/** The same when the kernel has done what it does by itself after a change. */
async function settled(leader?: string): Promise<string> {
  let seen = ''
  const isSettled = async (): Promise<boolean> => {
    seen = await state(leader)
    return !seen.includes('tentative') && /^br9: .* state DOWN/m.test(seen)
  }
  await host.waitFor(isSettled, 'links and addresses to settle')
  return seen
}

/** Whether in the end everything is so. */
async function becomes(t: Test, wanted: string, what: string, leader?: string): Promise<void> {
  await host.waitFor(async () => (await state(leader)) === wanted, what).catch(() => undefined)
  t.equal(await state(leader), wanted, what)
}

// What the daemon keeps from one machine to the next is there then.
await machine.register(await machine.start())
await machine.end()
const empty = await settled()
const first = await machine.start()
await machine.register(first)
const whole = await settled(first)
await machine.end()

t.test('what is compared is what matters', (t) => {
  t.match(whole, /ve-m1.* master mn-a-networ.* .*machined:machine=m1/)
  t.match(whole, /host0 +inet6 fd/)
  t.match(whole, 'table bridge machined')
  for (const text of [whole, empty]) t.match(text, 'table inet other')
  t.notMatch(empty, /mn-|table (?:inet|bridge) machined|79-machined/)
  t.end()
})

for (const kind of KINDS) {
  t.test(`a daemon that is killed at a ${kind} changes nothing in the end`, async (t) => {
    // Of some requests one is taken for all: each round takes seconds.
    for (let count = 1, killed = true; killed && count < 60; count += kind === 'sendto' ? 5 : 1) {
      const leader = await machine.start()
      const coming = await killedAt(host, [kind, count], () => machine.register(leader))
      // Who got no answer asks again.
      if ((await client.call('GetMachine', 's', 'm1')).exitCode !== 0)
        t.equal((await machine.register(leader)).stderr, '')
      await becomes(t, whole, `network of a machine, ${coming ? `killed at number ${count}` : 'not killed'}`, leader)
      const going = await killedAt(host, [kind, count], () => machine.end())
      await becomes(t, empty, `network without machines, ${going ? `killed at number ${count}` : 'not killed'}`)
      killed = coming || going
    }
  })
}

import t, { type Test } from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'
import { pick, randomOf } from './seeded-random.ts'
import { daemonPid, openDescriptors, threadCount } from './stress.ts'

// Containers of systemd-nspawn that come and go in a random order leave nothing of their networks behind (issue 6).

const CONTAINERS = 200
/** Fewer than containers, as names come again and are to have the same addresses then. */
const NAMES = 60
const MOST_AT_ONCE = 30
/** How many come or go at the same time. */
const LANES = 6
const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)

const random = randomOf(seed)

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)

// The next systemd-nspawn does not like what a killed one leaves: a mount, and its link till the kernel has removed it.
const START = `
  { systemctl stop "c-$0.service" "machine-$0.scope"; umount "/run/systemd/nspawn/unix-export/$0"; } 2>/dev/null
  while [ -e "/sys/class/net/ve-$0" ]; do sleep 0.05; done
  exec systemd-run -q --collect --unit="c-$0" --service-type=notify -p KillMode=mixed \\
    systemd-nspawn -q -D /run/test-host/guest --read-only -M "$0" --as-pid2 --register=yes --network-veth sleep infinity`
/** How containers end: asked by the daemon, by systemd, by the end of what runs in them; or killed, without a word of systemd-nspawn. */
const ENDS = [
  'exec machinectl terminate "$0"',
  'exec systemctl stop "c-$0"',
  'exec machinectl kill --kill-whom=leader --signal=KILL "$0"',
  'exec systemctl kill --signal=KILL "c-$0"'
]

async function script(text: string, name: string): Promise<void> {
  const { exitCode, stderr } = await host.run(['sh', '-c', text, name], { reject: false })
  if (exitCode === 0) return
  const { stdout } = await host.run(['journalctl', '--no-pager', '-n', '30'])
  throw new Error(`${name}: ${text}: ${stderr}\n${stdout}`)
}

interface Step {
  readonly name: string
  readonly text: string
}

/** Starts and ends of so many containers in a random order; the last so many are left running. */
function order(containers: number, left: number): Step[] {
  const steps: Step[] = []
  const running: string[] = []
  for (let started = 0; started < containers || running.length > left;) {
    if (started < containers && running.length < MOST_AT_ONCE && random() < 0.5) {
      const free = Array.from({ length: NAMES }, (_, index) => `m${index}`).filter((name) => !running.includes(name))
      const name = pick(random, free)
      running.push(name)
      steps.push({ name, text: START })
      started++
    } else if (running.length > 0) {
      const [name = ''] = running.splice(running.indexOf(pick(random, running)), 1)
      steps.push({ name, text: pick(random, ENDS) })
    }
  }
  return steps
}

/** Takes the steps, several at a time, but one after the other for each name. */
async function take(steps: readonly Step[]): Promise<void> {
  const rest = steps.values()
  const last = new Map<string, Promise<void>>()
  const lane = async (): Promise<void> => {
    for (const { name, text } of rest) {
      const before = last.get(name) ?? Promise.resolve()
      const step = before.then(async () => {
        if (text === START) await client.waitTillGone(name)
        await script(text, name)
      })
      last.set(name, step)
      await step
    }
  }
  await Promise.all(Array.from({ length: LANES }, lane))
}

/** What runs after these steps. */
function left(steps: readonly Step[]): string[] {
  const running = new Set<string>()
  for (const { name, text } of steps) {
    if (text === START) running.add(name)
    else running.delete(name)
  }
  return [...running].sort()
}

/** All there is of networks on the host. */
function state(): Promise<string> {
  return client.output(
    'sh',
    '-c',
    `ip -o link | sed 's/^[0-9]*: //'; ip -o address; ip route; ip -6 route; nft list ruleset
    ls -A /run/machined/network /run/systemd/network /run/sysctl.d /run/systemd/machines /run/machined`
  )
}

async function leases(): Promise<Map<string, string>> {
  const file = await client.output('cat', '/var/lib/machined/network/machines0.json')
  const { leases } = JSON.parse(file) as { leases: { name: string; ip4: string; ip6: string }[] }
  return new Map(leases.map(({ name, ip4, ip6 }) => [name, `${ip4} ${ip6}`]))
}

async function allGone(): Promise<void> {
  const isEmpty = async (): Promise<boolean> => (await client.stateFiles()) === ''
  await host.waitFor(isEmpty, 'all machines to be gone')
  await host.waitFor(
    async () => (await host.run(['machinedctl', 'network', 'take-down'], { reject: false })).exitCode === 0,
    'the network to be taken down'
  )
}

/** Those that run, and no others, have what belongs to them. */
async function onlyTheseHave(t: Test, names: readonly string[]): Promise<void> {
  const ports = async (): Promise<string[]> => {
    const text = await client.output('nft', 'list', 'set', 'bridge', 'machined', 'ports')
    return Array.from(text.matchAll(/"ve-(\w+)"/g), ([, name = '']) => name).sort()
  }
  const wanted = names.join(' ')
  await host.waitFor(async () => (await ports()).join(' ') === wanted, 'the rules to be for those that run')
  const links = await client.output('ip', '-o', 'link', 'show', 'master', 'machines0')
  t.strictSame(Array.from(links.matchAll(/: ve-(\w+)@/g), ([, name]) => name).sort(), names)
  const known = await leases()
  for (const name of names) {
    const [ip4 = '', ip6 = ''] = known.get(name)?.split(' ') ?? []
    for (const ip of [ip4, ip6]) {
      t.equal((await host.run(['ping', '-n', '-c1', '-W5', ip], { reject: false })).exitCode, 0, `${name} at ${ip}`)
    }
  }
}

t.test(`${CONTAINERS} containers that start and stop in a random order (SEED=${seed})`, async (t) => {
  // What the daemon keeps for good is there after the first ones, and a port for each third name.
  for (let index = 0; index < NAMES; index += 3) {
    await host.writeFile(`/etc/machined/machines/m${index}.conf`, `[Forward]\nListen=${8000 + index}\nTarget=80\n`)
  }
  await take(order(2 * LANES, 0))
  await allGone()
  const before = { state: await state(), descriptors: await openDescriptors(host), threads: await threadCount(host) }
  const early = await leases()

  const steps = order(CONTAINERS, MOST_AT_ONCE / 2)
  const pid = await daemonPid(host)
  await take(steps)
  await onlyTheseHave(t, left(steps))
  const amid = await leases()
  await take(left(steps).map((name) => ({ name, text: pick(random, ENDS) })))
  await allGone()

  t.equal(await daemonPid(host), pid)
  t.equal(await state(), before.state, 'no link, address, route, rule or file is left')
  await host.waitFor(async () => (await openDescriptors(host)) <= before.descriptors, 'descriptors to be closed')
  t.ok((await threadCount(host)) <= before.threads, 'nor a thread')
  const late = await leases()
  t.equal(new Set(late.values()).size, late.size, 'each name has addresses of its own')
  for (const known of [early, amid]) for (const [name, addresses] of known) t.equal(late.get(name), addresses, name)
})

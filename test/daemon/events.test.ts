import t from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'
import { HangingMount } from './hanging-mount.ts'
import { POOL, renewPool } from './image-pool.ts'
import { callOne, MACHINE_SOCKET } from './varlink-client.ts'

const M = 'io.systemd.Machine'
const I = 'io.systemd.MachineImage'

const host = await TestHost.start({ root: 'testing' })
t.teardown(() => host.stop())
const client = new Client(host)

interface Event {
  sequence: number
  event: string
  machine?: string
  state?: string
  addresses?: { family: number; address: number[] }[]
  image?: string
  path?: string
  operation?: { id: number; kind: string; bytes: number; files: number }
  error?: string
}

class Follower {
  readonly #process
  #seen = ''

  constructor(parameters: object) {
    const argv = ['varlinkctl', '--more', '--timeout=infinity', 'call', MACHINE_SOCKET, 'io.machined.Events.Subscribe']
    this.#process = host.spawn([...argv, JSON.stringify(parameters)])
    this.#process.stdout.setEncoding('utf8').on('data', (text: string) => (this.#seen += text))
  }

  /** What was told so far. */
  get events(): Event[] {
    const whole = this.#seen.split('\u001e').filter((text) => text.endsWith('\n'))
    return whole.map((text) => JSON.parse(text) as Event)
  }

  /** Does something and waits till one more time something is told of an image. */
  async afterwards(event: string, image: string, act: () => Promise<unknown>): Promise<void> {
    const count = (): number => this.events.filter((one) => one.event === event && one.image === image).length
    const before = count()
    await act()
    await host.waitFor(() => count() > before, `${image} to be ${event}`)
  }

  /** Waits till something is told that all these values are in. */
  async until(wanted: Partial<Event>): Promise<Event> {
    const isWanted = (event: Event): boolean =>
      Object.entries(wanted).every(([key, value]) => event[key as keyof Event] === value)
    await host.waitFor(() => this.events.some(isWanted), JSON.stringify(wanted))
    return this.events.findLast(isWanted) as Event
  }

  stop(): void {
    this.#process.kill()
  }
}

t.test('who subscribes is told of machines as they come, change and go', async (t) => {
  const run = ['systemd-run', '-q', '--collect', '--unit=veiled', '-p', 'PrivateNetwork=yes', 'sleep', 'infinity']
  await host.run(run)
  const leader = await client.output('systemctl', 'show', '-P', 'MainPID', 'veiled.service')
  const inside = ['nsenter', '-t', leader, '-n', 'ip', 'address']
  await host.run([...inside, 'add', '192.0.2.7/24', 'dev', 'lo'])
  await client.register('veiled', leader)
  const all = new Follower({})
  const one = new Follower({ name: 'brief' })
  await all.until({ event: 'present', machine: 'veiled' })
  const known = (): string[] => {
    const told = all.events.filter(({ machine, addresses }) => machine === 'veiled' && addresses !== undefined)
    return told.at(-1)?.addresses?.map(({ address }) => address.join('.')) ?? []
  }
  t.strictSame(known(), ['192.0.2.7'])
  const isLast = (count: number) => () => known().length === count
  await host.run([...inside, 'add', '192.0.2.8/24', 'dev', 'lo'])
  await host.waitFor(isLast(2), 'the address to be told of')
  await host.run([...inside, 'del', '192.0.2.8/24', 'dev', 'lo'])
  await host.waitFor(isLast(1), 'the address to be gone')

  await one.until({ event: 'ready' })
  const brief = Number(await client.startProcess('brief'))
  await callOne(host, `${M}.Register`, { name: 'brief', class: 'vm', leader: brief, allocateUnit: true })
  await callOne(host, `${M}.Terminate`, { name: 'brief' })
  await all.until({ event: 'removed', machine: 'brief' })
  await one.until({ event: 'removed' })
  const told = one.events.map(({ sequence, event, state }) => [sequence, event, state])
  t.strictSame(told.slice(0, 4), [
    [1, 'ready', undefined],
    [2, 'new', 'opening'],
    [3, 'state', 'running'],
    [4, 'state', 'closing']
  ])
  t.ok(one.events.slice(1).every(({ machine }) => machine === 'brief'))
  const sequence = all.events.map((event) => event.sequence)
  t.strictSame(
    sequence,
    sequence.map((_, index) => index + 1)
  )
  all.stop()
  one.stop()
  await host.run(['systemctl', 'stop', 'veiled'])
})

/** How many directories or cgroups the daemon watches. */
async function watchers(): Promise<number> {
  const pid = await client.output('systemctl', 'show', '-P', 'MainPID', 'systemd-machined')
  const { stdout } = await host.run(['sh', '-c', 'ls -l /proc/"$0"/fd | grep -c inotify', pid], { reject: false })
  return Number(stdout)
}

t.test('who subscribes is told of images', async (t) => {
  const shell = (script: string) => host.run(['sh', '-euc', script])
  await shell(`mkdir -p ${POOL}/old /usr/lib/machines/vendor; rm -rf /run/machines`)
  const before = await watchers()
  const follower = new Follower({ topics: ['images'] })
  const one = new Follower({ topics: ['images'], name: 'two' })
  await Promise.all([follower.until({ event: 'ready' }), one.until({ event: 'ready' })])
  const present = follower.events.filter(({ event }) => event === 'present').map(({ image }) => image)
  t.strictSame(present.sort(), ['old', 'vendor'])
  t.ok((await watchers()) > before)

  await t.test('that come, are changed and go', async () => {
    await shell(`mkdir ${POOL}/one; truncate -s 1M ${POOL}/disk.raw`)
    await follower.until({ event: 'new', image: 'one', path: `${POOL}/one` })
    await follower.until({ event: 'new', image: 'disk', path: `${POOL}/disk.raw` })
    await callOne(host, `${I}.Update`, { name: 'disk', readOnly: true })
    await follower.until({ event: 'changed', image: 'disk' })
    await callOne(host, `${I}.Update`, { name: 'one', newName: 'two' })
    await follower.until({ event: 'removed', image: 'one' })
    await one.until({ event: 'new', image: 'two' })
    await shell(`rmdir ${POOL}/two`)
    await one.until({ event: 'removed', image: 'two' })
  })

  await t.test('in directories that come later', async () => {
    await shell(`mkdir -p /run/machines/late`)
    await follower.until({ event: 'new', image: 'late' })
    await shell(`rm -r /run/machines; mkdir -p /run/machines/later`)
    await follower.until({ event: 'removed', image: 'late' })
    await follower.until({ event: 'new', image: 'later' })
    await shell('mkdir /run/machines/latest')
    await follower.until({ event: 'new', image: 'latest' })
  })

  await t.test('in several versions', async () => {
    await shell(`mkdir -p ${POOL}/many.v/many_1`)
    await follower.until({ event: 'new', image: 'many', path: `${POOL}/many.v/many_1` })
    await shell(`mkdir ${POOL}/many.v/many_2`)
    await follower.until({ event: 'changed', image: 'many', path: `${POOL}/many.v/many_2` })
  })

  await t.test('each once, however many come at a time', async (t) => {
    await shell(`cd ${POOL}; for n in $(seq 300); do mkdir mass-$n; done; mkdir last`)
    await follower.until({ event: 'new', image: 'last' })
    const mass = (): Event[] =>
      follower.events.filter(({ event, image }) => event === 'new' && image?.startsWith('mass-'))
    // In one go with others, it need not be the last.
    await host.waitFor(() => mass().length >= 300, 'all to be told of')
    t.equal(mass().length, 300)
  })
  t.strictSame(
    one.events.map(({ event }) => event),
    ['ready', 'new', 'removed']
  )
  follower.stop()
  one.stop()
  await host.waitFor(async () => (await watchers()) === before, 'nothing to be watched any more')
  await shell(`rm -r /run/machines ${POOL}/*`)
})

t.test('a file system that does not answer keeps back no news of images on others', async (t) => {
  const dead = `${POOL}/dead.v`
  await client.output('mkdir', '-p', dead)
  const hanging = await HangingMount.start(host, '1', dead, 'directory')
  t.teardown(() => hanging.abort())
  const follower = new Follower({ topics: ['images'] })
  await follower.until({ event: 'ready' })
  await client.output('mkdir', `${POOL}/fresh`)
  await follower.until({ event: 'new', image: 'fresh' })
  await hanging.abort()
  await client.output('umount', dead)
  await client.output('mkdir', `${dead}/dead_1`)
  await follower.until({ event: 'new', image: 'dead' })
  follower.stop()
  await client.output('rm', '-r', dead, `${POOL}/fresh`)
})

t.test('who subscribes is told of images that become others in place', async (t) => {
  const shell = (script: string) => client.output('sh', '-euc', `cd ${POOL}; ${script}`)
  const isReadOnly = async (name: string): Promise<unknown> =>
    (await callOne(host, `${I}.List`, { name })).parameters?.['readOnly']
  const follower = new Follower({ topics: ['images'] })
  await follower.until({ event: 'ready' })

  await t.test('by mounts', async (t) => {
    await follower.afterwards('new', 'tree', () => shell('mkdir tree'))
    await follower.afterwards('changed', 'tree', () => shell('mount --bind tree tree; mount -o remount,bind,ro tree'))
    t.equal(await isReadOnly('tree'), true)
    await follower.afterwards('changed', 'tree', () => shell('umount tree'))
    await follower.afterwards('changed', 'tree', () => shell('mount -t tmpfs tmpfs tree'))
    await shell('umount tree; rmdir tree')
    await follower.until({ event: 'removed', image: 'tree' })
    await shell('mkdir covered')
    await follower.until({ event: 'new', image: 'covered' })
    await follower.afterwards('removed', 'covered', () => renewPool(client, 'ext4'))
  })

  await t.test('by attributes', async (t) => {
    await follower.afterwards('new', 'tree', () => shell('mkdir tree'))
    await follower.afterwards('changed', 'tree', () => shell('chattr +i tree'))
    t.equal(await isReadOnly('tree'), true)
    await follower.afterwards('changed', 'tree', () => shell('chattr -i tree'))
  })

  await t.test('by calls, where the kernel tells only who watches what a link leads to', async (t) => {
    const make = () => shell('truncate -s 1M /root/target; ln -s /root/target linked.raw')
    await follower.afterwards('new', 'linked', make)
    const mark = () => client.call('MarkImageReadOnly', 'sb', 'linked', 'true')
    await follower.afterwards('changed', 'linked', mark)
    t.equal(await isReadOnly('linked'), true)
    const update = () => callOne(host, `${I}.Update`, { name: 'linked', readOnly: false })
    await follower.afterwards('changed', 'linked', update)
  })

  await t.test('by what btrfs can do', async (t) => {
    await renewPool(client, 'btrfs')
    await follower.afterwards('new', 'volume', () => shell('btrfs -q subvolume create volume'))
    await follower.afterwards('changed', 'volume', () => shell('btrfs property set volume ro true'))
    t.equal(await isReadOnly('volume'), true)
    await follower.afterwards('changed', 'volume', () => shell('btrfs property set volume ro false'))
    t.equal((await client.call('SetPoolLimit', 't', '200000000')).stderr, '')
    const limit = (bytes: string) => client.call('SetImageLimit', 'st', 'volume', bytes)
    await follower.afterwards('changed', 'volume', () => limit('100000000'))
    const update = () => callOne(host, `${I}.Update`, { name: 'volume', limit: 50_000_000 })
    await follower.afterwards('changed', 'volume', update)
    t.match(await callOne(host, `${I}.List`, { name: 'volume' }), { parameters: { limit: 50_000_000 } })
  })
  follower.stop()
  await shell(`cd /; umount ${POOL}; rm -rf ${POOL}/*`)
})

t.test('who subscribes is told of what takes long', async (t) => {
  const follower = new Follower({ topics: ['operations'] })
  const one = new Follower({ topics: ['operations'], name: 'copy' })
  await Promise.all([follower.until({ event: 'ready' }), one.until({ event: 'ready' })])
  const make = `
import os
os.makedirs("${POOL}/tree")
for number in range(40000):
    with open(f"${POOL}/tree/{number}", "w") as file:
        file.write("text")`
  await host.run(['python3', '-c', make])
  await host.run(['machinectl', 'clone', 'tree', 'copy'])
  await host.run(['machinectl', 'remove', 'copy'])
  await one.until({ event: 'finished' })
  const all = follower.events.slice(1)
  const of = (kind: string): Event[] => all.filter(({ operation }) => operation?.kind === kind)
  for (const [kind, image] of [['clone', 'tree'] as const, ['remove', 'copy'] as const]) {
    const told = of(kind)
    t.match(told[0], { event: 'new', image, operation: { bytes: 0, files: 0 } })
    t.match(told.at(-1), { event: 'finished', image, operation: { files: 40_001 } })
    const between = told.slice(1, -1)
    t.ok(between.length > 0 && between.length < 200, `${String(between.length)} times of ${kind} while it went on`)
    t.ok(between.every(({ event }) => event === 'progress'))
    const files = told.map(({ operation }) => operation?.files ?? -1)
    t.strictSame(
      files,
      files.toSorted((a, b) => a - b)
    )
  }
  t.equal(of('clone').at(-1)?.operation?.bytes, 160_000)
  t.not(of('clone')[0]?.operation?.id, of('remove')[0]?.operation?.id)

  await t.test('and what became of it', async (t) => {
    await client.register('box', await client.startProcess('box'))
    const copy = { name: 'box', source: `${POOL}/tree`, destination: '/root/copied' }
    t.strictSame(await callOne(host, `${M}.CopyTo`, copy), {})
    t.match(await follower.until({ event: 'finished', machine: 'box' }), {
      operation: { kind: 'copy', bytes: 160_000 }
    })
    t.match(await callOne(host, `${M}.CopyTo`, { ...copy, source: '/etc/hostname' }), { error: 'io.systemd.System' })
    await follower.until({ event: 'failed', machine: 'box', error: 'EEXIST' })
    const cut = callOne(host, `${M}.CopyTo`, { ...copy, destination: '/root/other' })
    await host.waitFor(() => follower.events.at(-1)?.event === 'progress', 'the copy to be under way')
    const late = new Follower({ topics: ['operations'] })
    await late.until({ event: 'present', machine: 'box' })
    await host.run(['systemctl', 'stop', 'box'])
    await late.until({ event: 'failed', machine: 'box', error: 'ECANCELED' })
    t.match(await cut, { parameters: { errnoName: 'ECANCELED' } })
    late.stop()
  })
  follower.stop()
  one.stop()
})

t.test('cleaning tells of each image when it is gone', async (t) => {
  await host.run(['sh', '-euc', `cd ${POOL}; mkdir .b; mv tree .a`])
  const argv = ['varlinkctl', '--more', 'call', MACHINE_SOCKET, `${I}.CleanPool`, '{"mode":"hidden"}']
  t.match((await host.run(argv)).stdout, /"name":"\.[ab]"[^]*"name":"\.[ab]"/)
  t.equal(await client.output('ls', '-A', POOL), '')
})

t.test('nothing of this was a bug to the daemon', async (t) => {
  t.notMatch(await client.output('journalctl', '-u', 'systemd-machined', '-o', 'cat', '--no-pager'), 'because of a bug')
})

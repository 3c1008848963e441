import { once } from 'node:events'
import t from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'
import { HangingMount } from './hanging-mount.ts'
import { residentMemory } from './stress.ts'
import { callOne } from './varlink-client.ts'

// Copies that take long, never end, or whose trees are changed meanwhile by somebody who means no good.

const MOST = 64
const CONNECTIONS = '/sys/fs/fuse/connections'
const MANAGER = 'org.freedesktop.machine1 /org/freedesktop/machine1 org.freedesktop.machine1.Manager'

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
await Promise.all([host.startContainer('slow'), host.startContainer('evil'), host.startContainer('veiled', ['-U'])])

const isFull = async (): Promise<boolean> =>
  (await client.call('CopyToMachine', 'sss', 'evil', '/nowhere/x', '/x')).stderr.includes('Too many ongoing copies.')

/** Copies what does not end by itself, and prints what became of it. Asking whether it is full takes a place for a moment. */
const COPY = `
  copy() {
    while told=$(busctl --timeout=60 call ${MANAGER} CopyFromMachine sss slow /srv/hung "/root/$1" 2>&1)
      [ "$told" = "Call failed: Too many ongoing copies." ]
    do :; done
    echo "$told"
  }
  for number in $(seq "$0"); do copy "$number" & done
  wait`

/** How many requests nobody answers. */
async function unanswered(): Promise<number> {
  const counts = await client.output('sh', '-c', 'cat "$0"/*/waiting', CONNECTIONS)
  return counts.split('\n').reduce((sum, count) => sum + Number(count), 0)
}

/** The promise gives what each caller is told in the end. */
async function beginCopies(count: number): Promise<{ told: Promise<string[]> }> {
  const told = client.output('sh', '-c', COPY, String(count)).then((lines) => lines.split('\n'))
  // The kernel's own first request is one more.
  await host.waitFor(async () => (await unanswered()) > count, 'all copies to hang')
  return { told }
}

await host.run(['sh', '-c', 'mountpoint -q "$0" || mount -t fusectl fusectl "$0"', CONNECTIONS])
const slow = await client.leader('slow')
await host.run(['nsenter', '--mount', '--root', '--target', slow, 'mkdir', '/srv/hung'])
const hang = (): Promise<HangingMount> => HangingMount.start(host, slow, '/srv/hung', 'directory')

const canceled = 'Call failed: Operation canceled'
const disconnected = 'Call failed: Message recipient disconnected from message bus without replying'

t.test('copies end with the daemon', async (t) => {
  for (const [signal, text] of [['KILL', disconnected] as const, ['TERM', canceled] as const]) {
    const mount = await hang()
    const { told } = await beginCopies(3)
    await host.run(['systemctl', 'kill', `--signal=${signal}`, 'systemd-machined.service'])
    t.strictSame(await told, [text, text, text], signal)
    // A daemon that is asked to end is not started again.
    await host.run(['systemctl', 'start', 'systemd-machined.service'])
    await mount.abort()
  }
})

t.test('there are 64 at most; they end with the machine, but keep their places as long as they hang', async (t) => {
  const mount = await hang()
  const { told } = await beginCopies(MOST)
  t.ok(await isFull())
  const varlink = await callOne(host, 'io.systemd.Machine.CopyTo', { name: 'evil', source: '/nowhere/x' })
  t.strictSame(varlink, { error: 'io.systemd.Machine.TooManyOperations' })
  t.equal((await client.call('GetMachine', 's', 'veiled')).exitCode, 0)
  await host.run(['machinectl', 'kill', '--signal=KILL', 'slow'])
  t.strictSame(await told, Array(MOST).fill(canceled))
  t.ok(await isFull())
  await mount.abort()
  await host.waitFor(async () => !(await isFull()), 'places to be free')
})

t.test('a big file is copied in little memory, and others are served meanwhile', async (t) => {
  await host.run(['sh', '-euc', 'head -c 400M /dev/zero | tr "\\0" x >/root/big'])
  await host.run(['sh', '-euc', 'echo small >/root/small'])
  t.equal((await client.call('CopyToMachine', 'sss', 'evil', '/root/small', '/small')).stderr, '')
  const before = await residentMemory(host)
  const state = { over: false }
  const copied = client.call('CopyToMachine', 'sss', 'evil', '/root/big', '/big').finally(() => (state.over = true))
  let answered = 0
  while (!state.over) {
    t.equal((await client.call('GetMachine', 's', 'veiled')).exitCode, 0)
    answered++
  }
  t.equal((await copied).stderr, '')
  t.ok(answered > 1)
  t.ok((await residentMemory(host)) < before + 64)
  const root = `/proc/${await client.leader('evil')}/root`
  await host.run(['cmp', '/root/big', `${root}/big`])
  await host.run(['rm', '/root/big', `${root}/big`])
})

t.test('a tree that is changed meanwhile leads nowhere else', async (t) => {
  const swap = `
    mkdir -p /srv/tree/d/sub /srv/target/d/sub /root/outside
    echo inside >/srv/tree/d/sub/file; echo inside >/srv/tree/f
    echo SECRET >/root/outside/file
    exec perl -e '
      until (-e "/srv/stop") {
        for my $top ("/srv/tree", "/srv/target") {
          chdir $top;
          rename "d", "../moved"; symlink "/root/outside", "d"; unlink "d"; rename "../moved", "d";
          chdir "d";
          rename "sub", "../../sub"; symlink "../../../root/outside", "sub"; unlink "sub"; rename "../../sub", "sub";
          chdir $top;
          unlink "f"; symlink "/root/outside/file", "f"; unlink "f";
          system "mkfifo f" unless $i++ % 50; unlink "f";
          open F, ">f"; print F "inside"; close F;
        }
      }'`
  await host.run(['sh', '-euc', 'mkdir /root/outside; echo SECRET >/root/outside/file'])
  await host.run(['sh', '-euc', 'mkdir -p /root/tree/d/sub; echo new >/root/tree/d/sub/file; echo new >/root/tree/f'])
  const state = 'find /root/outside -printf "%p %m %U %T@ %s\\n"; cat /root/outside/file'
  const before = await client.output('sh', '-c', state)
  for (const name of ['evil', 'veiled']) {
    const leader = await client.leader(name)
    const enter = ['nsenter', '--all', '--root', '--wd', '--setuid=0', '--setgid=0', '--target', leader]
    const swapper = host.spawn([...enter, 'sh', '-euc', swap])
    await host.waitFor(
      async () => (await host.run(['test', '-e', `/proc/${leader}/root/srv/tree/f`], { reject: false })).exitCode === 0,
      'the swapping to begin'
    )
    for (let turn = 0; turn < 12; turn++) {
      await client.call('CopyFromMachineWithFlags', 'ssst', name, '/srv/tree', `/root/${name}`, '1')
      await client.call('CopyToMachineWithFlags', 'ssst', name, '/root/tree', '/srv/target', '1')
    }
    const exit = once(swapper, 'exit')
    await host.run(['touch', `/proc/${leader}/root/srv/stop`])
    await exit
    t.equal((await host.run(['grep', '-r', 'SECRET', `/root/${name}`], { reject: false })).stdout, '', 'read')
    t.equal(await client.output('sh', '-c', state), before, 'written')
    t.equal(await client.output('cat', `/proc/${leader}/root/root/outside/file`), 'SECRET')
    t.equal(await client.output('ls', `/proc/${leader}/root/root/outside`), 'file')
  }
})

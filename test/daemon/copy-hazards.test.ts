import { once } from 'node:events'
import t from 'tap'
import { TestHost, type RunResult } from '../host/host.ts'
import { Client } from './client.ts'
import { HangingMount } from './hanging-mount.ts'
import { residentMemory } from './stress.ts'

// Copies that take long, never end, or whose trees are changed meanwhile by somebody who means no good.

const MOST = 64
const MANAGER = 'org.freedesktop.machine1 /org/freedesktop/machine1 org.freedesktop.machine1.Manager'

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
await Promise.all([host.startContainer('slow'), host.startContainer('evil'), host.startContainer('veiled', ['-U'])])

const isFull = async (): Promise<boolean> =>
  (await client.call('CopyToMachine', 'sss', 'evil', '/nowhere/x', '/x')).stderr.includes('Too many ongoing copies.')

/** Begins copies that do not end by themselves; gives what their callers are told, once all are over. */
function beginCopies(count: number): Promise<RunResult> {
  const call = `busctl --timeout=60 call ${MANAGER} CopyFromMachine sss slow /srv/hung "/root/$i"`
  return host.run(['sh', '-c', `for i in $(seq ${String(count)}); do ${call} & done; wait`])
}

async function hang(): Promise<HangingMount> {
  const leader = await client.leader('slow')
  await host.run(['nsenter', '--mount', '--root', '--target', leader, 'mkdir', '-p', '/srv/hung'])
  return HangingMount.start(host, leader, '/srv/hung', 'directory')
}

t.test('there are 64 at most; they end with the daemon, and their callers are told', async (t) => {
  const mount = await hang()
  // A few more, as asking whether it is full takes a place for a moment.
  const told = beginCopies(MOST + 4)
  await host.waitFor(isFull, 'all places to be taken')
  t.equal((await client.call('GetMachine', 's', 'veiled')).exitCode, 0)
  await host.run(['systemctl', 'kill', '--signal=TERM', 'systemd-machined.service'])
  const lines = (await told).stderr.split('\n')
  t.equal(lines.length, MOST + 4)
  const texts = /disconnected|no reply|NoReply|canceled/i
  const [most, few] = [lines.filter((line) => texts.test(line)), lines.filter((line) => !texts.test(line))]
  t.equal(most.length, MOST, lines[0] ?? '')
  for (const line of few) t.match(line, 'Too many ongoing copies.')
  // A daemon that is asked to end is not started again.
  await host.run(['systemctl', 'start', 'systemd-machined.service'])
  t.notOk(await isFull())
  await mount.abort()
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
    t.equal((await client.call('GetMachine', 's', 'slow')).exitCode, 0)
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

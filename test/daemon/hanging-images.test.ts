import t from 'tap'
import { TestHost, type RunResult } from '../host/host.ts'
import { Client } from './client.ts'
import { HangingMount } from './hanging-mount.ts'
import { daemonPid, threadCount } from './stress.ts'

// Images on file systems that never answer: what is asked of others is answered meanwhile.

const POOL = '/var/lib/machines'

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
await host.run([
  'sh',
  '-euc',
  `mkdir -p ${POOL}; cd ${POOL}
  mkdir -p stuck good/etc deep/etc; echo ID=good | tee good/etc/os-release >deep/etc/os-release`
])
const osRelease = (name: string): Promise<RunResult> => client.call('GetImageOSRelease', 's', name)
const GOOD = 'a{ss} 1 "ID" "good"'

async function listed(): Promise<string[]> {
  const lines = (await client.output('machinectl', 'list-images', '--no-legend')).split('\n')
  return lines.map((line) => line.split(' ')[0] ?? '').filter((name) => name !== '')
}

t.test('while a file system does not answer, images on others are served', async (t) => {
  t.equal((await osRelease('good')).stdout, GOOD)
  const before = await threadCount(host)
  const [stuck, deep] = await Promise.all([
    HangingMount.start(host, '1', `${POOL}/stuck`, 'directory'),
    HangingMount.start(host, '1', `${POOL}/deep/etc`, 'directory')
  ])
  t.teardown(() => Promise.all([stuck.abort(), deep.abort()]))

  const order: string[] = []
  const noted = async (name: string, call: Promise<RunResult>): Promise<string> => {
    const { stdout, stderr } = await call
    order.push(name)
    return stdout + stderr
  }
  const hang = [
    noted('stuck', client.call('GetImage', 's', 'stuck')),
    noted('inside of stuck', osRelease('stuck')),
    noted('deep', osRelease('deep')),
    noted('list', client.call('ListImages'))
  ]
  // What is asked for first hangs first.
  const tasks = `grep -lE '^(fuse_get_req|request_wait)' /proc/${String(await daemonPid(host))}/task/*/wchan | wc -l`
  await host.waitFor(async () => (await client.output('sh', '-c', tasks)) === '4', 'searches to hang')
  for (let round = 0; round < 3; round++) {
    t.equal(await noted('good', osRelease('good')), GOOD)
    t.match(await noted('good', client.call('GetImage', 's', 'good')), 'image/good')
  }
  t.strictSame(new Set(order), new Set(['good']), 'nothing else is answered yet')
  const [ofStuck, ofItsInside, ofDeep, list] = await Promise.all(hang)
  t.match(ofStuck, 'timed out')
  t.match(ofItsInside, 'Failed to read image metadata: Connection timed out')
  t.match(ofDeep, 'Failed to read image metadata: Connection timed out')
  t.match(list, /"good" "directory"/, 'a list is one without it')
  t.notMatch(list, '"stuck"')

  t.match((await client.call('GetImage', 's', 'stuck')).stderr, 'busy')
  t.match((await osRelease('deep')).stderr, 'busy')
  t.strictSame((await listed()).sort(), ['deep', 'good'])
  t.match((await client.call('CloneImage', 'ssb', 'good', 'copy', 'false')).stderr, /^$/)
  t.match((await client.call('RemoveImage', 's', 'copy')).stderr, /^$/)

  await Promise.all([stuck.abort(), deep.abort()])
  await host.run(['umount', `${POOL}/stuck`, `${POOL}/deep/etc`])
  await host.waitFor(async () => (await client.call('GetImage', 's', 'stuck')).exitCode === 0, 'it to be there again')
  t.equal((await osRelease('deep')).stdout, GOOD)
  t.ok((await listed()).includes('stuck'))
  await host.waitFor(async () => (await threadCount(host)) <= before + 1, 'the threads that hung to end')
})

t.test('while the pool does not answer, how big it is keeps nobody else waiting', async (t) => {
  const manager = ['org.freedesktop.machine1', '/org/freedesktop/machine1', 'org.freedesktop.machine1.Manager']
  const pool = await HangingMount.start(host, '1', POOL, 'directory')
  t.teardown(() => pool.abort())
  let isAnswered = false
  const usage = client.output('busctl', 'get-property', ...manager, 'PoolUsage').finally(() => (isAnswered = true))
  const tasks = `grep -lE '^(fuse_get_req|request_wait)' /proc/${String(await daemonPid(host))}/task/*/wchan | wc -l`
  await host.waitFor(async () => (await client.output('sh', '-c', tasks)) === '1', 'the question to hang')
  for (let round = 0; round < 3; round++) t.equal((await client.call('ListMachines')).exitCode, 0)
  t.notOk(isAnswered)
  await pool.abort()
  await host.run(['umount', POOL])
  t.equal(await usage, 't 18446744073709551615')
})

import t from 'tap'
import { TestHost, type RunResult } from '../host/host.ts'
import { Client } from './client.ts'
import { HangingMount } from './hanging-mount.ts'
import { threadCount } from './stress.ts'

// Images that can be looked at, but neither read nor changed: who asks for that gets an error, and nobody else notices.

const POOL = '/var/lib/machines'
/** Versions of one image. */
const STUCK = `${POOL}/stuck.v`
/** More than may be read at a time. */
const DISKS = ['disk-1', 'disk-2', 'disk-3', 'disk-4', 'disk-5']

const host = await TestHost.start()
const mounts: HangingMount[] = []
t.teardown(async () => {
  // What hangs would keep the host, and loop devices, which are the whole machine's.
  await Promise.all(mounts.map((mount) => mount.abort()))
  await host.stop()
})
const client = new Client(host)
await host.run([
  'sh',
  '-euc',
  `mkdir -p ${STUCK}; cd ${POOL}
  mkdir -p good/etc; echo ID=good >good/etc/os-release
  truncate -s 8M good-disk.raw; mkfs.ext4 -q -d good good-disk.raw
  touch ${DISKS.map((name) => `${name}.raw`).join(' ')}`
])
for (const name of DISKS) mounts.push(await HangingMount.ofChanges(host, `${POOL}/${name}.raw`, 'file'))
mounts.push(await HangingMount.ofChanges(host, STUCK, 'directory'))

/** Calls the Manager, waiting longer than busctl does by itself; gives what it says and, at the end, when. */
async function call(member: string, ...args: string[]): Promise<{ said: string; seconds: number }> {
  const manager = ['org.freedesktop.machine1', '/org/freedesktop/machine1', 'org.freedesktop.machine1.Manager']
  const start = performance.now()
  const { stdout, stderr } = await host.run(['busctl', '--timeout=120', 'call', ...manager, member, ...args], {
    reject: false
  })
  return { said: stdout + stderr, seconds: (performance.now() - start) / 1000 }
}

const osRelease = (name: string): Promise<RunResult> => client.call('GetImageOSRelease', 's', name)

t.test('images are listed where the file system has no word on itself', async (t) => {
  const { stdout } = await client.call('ListImages')
  t.not((await host.run(['stat', '--file-system', STUCK], { reject: false })).exitCode, 0)
  for (const row of ['"stuck" "directory" false', '"disk-1" "raw" false']) t.match(stdout, row)
})

t.test('what hangs ends in an error, and others are served meanwhile', async (t) => {
  t.match((await osRelease('good')).stdout, '"ID" "good"')
  const before = await threadCount(host)
  const hang = {
    disks: DISKS.map((name) => call('GetImageOSRelease', 's', name)),
    readOnly: call('MarkImageReadOnly', 'sb', 'disk-1', 'true'),
    rename: call('RenameImage', 'ss', 'stuck', 'renamed'),
    remove: call('RemoveImage', 's', 'stuck'),
    clone: call('CloneImage', 'ssb', 'disk-2', 'clone', 'false')
  }
  t.match((await osRelease('good-disk')).stdout, '"ID" "good"', 'a disk image is read while five hang')
  for (let round = 0; round < 3; round++) {
    t.match((await osRelease('good')).stdout, '"ID" "good"')
    t.equal((await client.call('CloneImage', 'ssb', 'good', 'copy', 'false')).stderr, '')
    t.equal((await client.call('RenameImage', 'ss', 'copy', 'other')).stderr, '')
    t.equal((await client.call('MarkImageReadOnly', 'sb', 'other', 'true')).stderr, '')
    t.equal((await client.call('RemoveImage', 's', 'other')).stderr, '')
  }
  const [rename, readOnly] = await Promise.all([hang.rename, hang.readOnly])
  for (const { said, seconds } of [rename, readOnly]) {
    t.match(said, 'timed out')
    t.ok(seconds < 25, 'before a caller loses patience')
  }
  t.match((await client.call('MarkImageReadOnly', 'sb', 'disk-1', 'true')).stderr, 'busy')
  t.match((await client.call('RemoveImage', 's', 'disk-1')).stderr, 'busy')

  const all = await Promise.all([...hang.disks, hang.remove, hang.clone])
  for (const { said } of all) t.match(said, 'timed out')
  t.match((await osRelease('good-disk')).stdout, '"ID" "good"')

  await Promise.all(mounts.map((mount) => mount.abort()))
  for (const path of [STUCK, ...DISKS.map((name) => `${POOL}/${name}.raw`)]) {
    // Loop devices let go a moment later.
    const isUnmounted = async (): Promise<boolean> =>
      (await host.run(['umount', path], { reject: false })).exitCode === 0
    await host.waitFor(isUnmounted, `${path} to be left`)
  }
  await host.waitFor(async () => (await threadCount(host)) <= before + 2, 'the threads that hung to end')
  t.equal((await client.call('RenameImage', 'ss', 'disk-1', 'free')).stderr, '', 'nothing is locked any more')
})

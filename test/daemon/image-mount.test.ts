import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import t from 'tap'
import { TestHost, type RunResult } from '../host/host.ts'
import { Client } from './client.ts'

const UNIT = 'systemd-machined.service'
const POINT = '/run/machine'
const NOTHING = { stdout: '', stderr: '', exitCode: 0 }

/** Images: a directory, one that is a link to it, and a disk, for which there have to be loop devices. */
const MAKE_IMAGES = `
mkdir -p /var/lib/machines/tree/etc /var/lib/machines/tree/sub /srv/stack.mstack
echo tree >/var/lib/machines/tree/etc/token; mount -t tmpfs sub /var/lib/machines/tree/sub
ln -s /var/lib/machines/tree /var/lib/machines/linked
[ -e /dev/loop-control ] || mknod -m 600 /dev/loop-control c 10 237
# Which of them is free changes as other tests take some, of which one opens number 1000.
for number in $(seq 0 31) $(seq 1000 1003); do [ -e /dev/loop$number ] || mknod -m 600 /dev/loop$number b 7 $number; done
cat >/var/lib/machines/disk.raw
echo garbage >/var/lib/machines/broken.raw
`

/** Locks the disk image as systemd-nspawn does, for as long as its input is open. */
const LOCK = `
import fcntl, struct, sys
file = open("/var/lib/machines/.#disk.raw.lck", "a+")
fcntl.fcntl(file, 37, struct.pack("hhqqi4x", 1, 0, 0, 0, 0))
print("locked", flush=True)
sys.stdin.read()
`

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
const making = host.spawn(['sh', '-euc', MAKE_IMAGES])
making.stdin.end(await makeDisk())
t.strictSame(await once(making, 'exit'), [0, null], 'the images are there')

/** A disk without partitions, with a system on it that says who it is and no more. */
async function makeDisk(): Promise<Buffer> {
  const path = t.testdir({ content: { etc: { 'os-release': 'ID=disk\n', token: 'disk\n' }, usr: {} } })
  const disk = join(path, 'disk')
  await execa('mkfs.ext4', ['-q', '-b', '1024', '-O', '^has_journal', '-d', join(path, 'content'), disk, '2M'])
  return readFile(disk)
}

const lock = (): Promise<RunResult> => run('python3', '-c', LOCK)

function run(...argv: string[]): Promise<RunResult> {
  return host.run(argv, { reject: false })
}

t.test('directories, also behind a link', async (t) => {
  t.match(await run('machinectl', 'mount', 'tree'), { ...NOTHING, stdout: `Mount point: ${POINT}/tree` })
  t.equal(await client.output('cat', `${POINT}/tree/etc/token`), 'tree')
  t.match(await client.output('grep', ` ${POINT}/tree `, '/proc/self/mountinfo'), / rw,nosuid,nodev\S* - /)
  t.equal((await run('mountpoint', '-q', `${POINT}/tree/sub`)).exitCode, 32)
  t.match(await run('machinectl', 'mount', 'linked', '--read-only', '--recursive'), {
    stdout: `Mount point: ${POINT}/linked`
  })
  t.equal((await run('mountpoint', '-q', `${POINT}/linked/sub`)).exitCode, 0)
  t.match((await run('touch', `${POINT}/linked/sub/x`)).stderr, /Read-only file system$/)
  await host.run(['systemctl', 'restart', UNIT])
  const list = (await run('machinectl', 'mounts', '--no-legend')).stdout.split('\n').sort()
  t.strictSame(list, [`linked ${POINT}/linked yes`, `tree   ${POINT}/tree   no`])
  t.match(await run('machinectl', 'umount', 'tree', 'linked'), NOTHING)
})

t.test('a mounted image outlasts machines of its name', async (t) => {
  await run('machinectl', 'mount', 'tree')
  await client.register('tree', await client.startProcess('tree'))
  t.match(await run('machinectl', 'mount', 'tree'), { stdout: `Mount point: ${POINT}/tree` })
  await host.run(['systemctl', 'kill', '--signal=SIGKILL', 'tree'])
  await client.waitTillGone('tree')
  t.match(await run('machinectl', 'umount', 'tree'), NOTHING, 'it is still there')
})

t.test('disk images', async (t) => {
  const { stdout, stderr } = await run('machinectl', 'mount', 'disk')
  t.equal(stderr, '')
  t.equal(stdout, `Mount point: ${POINT}/disk`)
  t.equal(await client.output('cat', `${POINT}/disk/etc/token`), 'disk')
  t.match(await client.output('grep', ` ${POINT}/disk `, '/proc/self/mountinfo'), / rw,nosuid,nodev\S* - ext4 /)
  await host.run(['sh', '-c', `echo changed >${POINT}/disk/etc/token`])

  t.match((await lock()).stderr, /temporarily unavailable/, 'nothing can be started from it meanwhile')
  await host.run(['systemctl', 'restart', UNIT])
  await host.waitFor(async () => (await lock()).exitCode !== 0, 'the new daemon to lock it')
  t.match(await run('machinectl', 'umount', 'disk'), NOTHING)
  t.match(await lock(), { stdout: 'locked' })
  t.equal(await client.output('ls', POINT), '')
  await host.waitFor(
    async () => !(await client.output('losetup', '--all')).includes('machines/disk.raw'),
    'the loop device to be free'
  )

  t.match(await run('machinectl', 'mount', 'disk', '--read-only'), { ...NOTHING, stdout: `Mount point: ${POINT}/disk` })
  t.equal(await client.output('cat', `${POINT}/disk/etc/token`), 'changed')
  t.match((await run('touch', `${POINT}/disk/x`)).stderr, /Read-only file system$/)
  t.match(await run('machinectl', 'umount', 'disk'), NOTHING)
})

t.test('one that is in use or broken is refused, and nothing is left', async (t) => {
  const holder = host.spawn(['python3', '-c', LOCK])
  await once(holder.stdout, 'data')
  t.match(await run('machinectl', 'mount', 'disk'), {
    stderr: "Failed to mount: Image 'disk' is in use: Device or resource busy",
    exitCode: 1
  })
  holder.kill()
  await once(holder, 'exit')
  t.match(await run('machinectl', 'mount', 'broken'), { stderr: /^Failed to mount: .*broken\.raw/, exitCode: 1 })
  t.equal(await client.output('ls', POINT), '')
  t.match(await run('machinectl', 'mounts'), { stdout: 'No mounts.' })
  t.match(await run('machinectl', 'mount', 'disk'), { exitCode: 0 }, 'nor is the lock')
  t.match(await run('machinectl', 'umount', 'disk'), NOTHING)
})

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { TestHost, type RunResult } from '../host/host.ts'
import { projectDirectory } from '../host/root.ts'
import { Client, ROOTS } from './client.ts'
import { POOL, renewPool } from './image-pool.ts'
import { callOne, MACHINE_SOCKET } from './varlink-client.ts'

// What machines and images are on: btrfs, partitions, FUSE. Mounts of them, and copies that take no place.

const POINT = '/run/machine'
const MOUNT = 'io.machined.Mount'
const NOTHING = { stdout: '', stderr: '', exitCode: 0 }
const UNIT = 'systemd-machined.service'

/** Two subvolumes, one of them for a container to run from, and a disk with two partitions as in the UAPI's list of their types. */
const MAKE_IMAGES = `
btrfs subvolume create ${POOL}/sub
mkdir ${POOL}/sub/etc ${POOL}/sub/usr ${POOL}/sub/srv
(cd ${POOL}/sub; ln -s usr/bin usr/lib usr/lib64 usr/sbin .)
echo sub >${POOL}/sub/etc/token
btrfs subvolume snapshot ${POOL}/sub ${POOL}/live
mkdir -p /root/parts/root/etc /root/parts/root/usr /root/parts/root/home /root/parts/home
cd /root/parts
echo ID=parts >root/etc/os-release; echo root >root/token; echo home >home/token
for name in root home; do mkfs.ext4 -q -b 1024 -O ^has_journal -d "$name" "$name.part" 4M; done
truncate -s 12M disk
sfdisk -q disk <<END
label: gpt
start=2048, size=8192, type=$ROOT_TYPE
start=10240, size=8192, type=933ac7e1-2eb4-4f13-b844-0e14e2aef915
END
dd if=root.part of=disk seek=2048 conv=notrunc status=none
dd if=home.part of=disk seek=10240 conv=notrunc status=none
mv disk ${POOL}/parts.raw
# The kernel makes a device for each partition, but not here: the host has a /dev of its own, and no udev.
mkdir /run/devices; mount -t devtmpfs devices /run/devices
for number in $(seq 0 31) $(seq 1000 1003); do
  [ -e "/dev/loop$number" ] || mknod -m 600 "/dev/loop$number" b 7 "$number"
  for part in 1 2; do ln -s "/run/devices/loop\${number}p$part" "/dev/loop\${number}p$part"; done
done
`
const ROOT_TYPES: Readonly<Record<string, string>> = {
  x64: '4f68bce3-e8cd-4db1-96e7-fbcaf984b709',
  arm64: 'b921b045-1df0-41c3-af44-4c6f280d3fae'
}

/** Where the data of a file is on its file system: extents as filefrag(8) prints them, with their flags. */
async function extentsOf(client: Client, path: string): Promise<string[]> {
  const lines = (await client.output('filefrag', '-s', '-v', path)).split('\n')
  return lines.filter((line) => /^ +\d+: /.test(line)).map((line) => line.replace(/ +/g, ' '))
}

async function startFuseMachine(host: TestHost, client: Client): Promise<void> {
  await host.writeFile('/root/fuse.py', readFileSync(join(projectDirectory(), 'test/daemon/fuse-machine.py'), 'utf8'))
  await host.run(['mkdir', '/run/fuse'])
  const command = ['unshare', '--mount', 'python3', '/root/fuse.py', '/run/fuse', 'rw']
  await host.run(['systemd-run', '-q', '--collect', '--unit=fuse', ...command])
  const leader = await client.output('systemctl', 'show', '-P', 'MainPID', 'fuse.service')
  const isReady = async (): Promise<boolean> =>
    (await client.output('readlink', `/proc/${leader}/root`)) === '/run/fuse'
  await host.waitFor(isReady, 'the file system to be there')
  t.equal((await client.register('fuse', leader)).stderr, '')
}

/** A container that runs nothing but what it takes to be one, from the file system of the pool. */
async function startLive(host: TestHost, client: Client): Promise<void> {
  const nspawn = ['systemd-nspawn', '-q', '-D', `${POOL}/live`, '-M', 'live', '--register=yes', '--bind-ro=/usr']
  const unit = ['systemd-run', '-q', '--collect', '--unit=live', '-p', 'KillMode=mixed']
  await host.run([...unit, ...nspawn, '--as-pid2', '/usr/bin/sleep', 'infinity'])
  const isThere = async (): Promise<boolean> => (await client.call('GetMachine', 's', 'live')).exitCode === 0
  await host.waitFor(isThere, 'the container to be registered')
}

for (const { root, systemd } of ROOTS.filter(({ systemd }) => systemd !== 257)) {
  t.test(`file systems on systemd ${String(systemd)}`, async (t) => {
    const host = await TestHost.start({ root })
    t.teardown(() => host.stop())
    const client = new Client(host)
    const run = (...argv: string[]): Promise<RunResult> => host.run(argv, { reject: false })
    await renewPool(client, 'btrfs')
    await host.run(['env', `ROOT_TYPE=${ROOT_TYPES[process.arch] ?? ''}`, 'bash', '-euc', MAKE_IMAGES])
    await startFuseMachine(host, client)
    await startLive(host, client)

    await t.test('a subvolume', async (t) => {
      t.match(await run('machinectl', 'mount', 'sub'), { ...NOTHING, stdout: `Mount point: ${POINT}/sub` })
      t.equal(await client.output('cat', `${POINT}/sub/etc/token`), 'sub')
      t.match(await client.output('grep', ` ${POINT}/sub `, '/proc/self/mountinfo'), / rw,nosuid,nodev\S* - btrfs /)
      await host.run(['sh', '-c', `echo new >${POINT}/sub/srv/new`])
      t.equal(await client.output('cat', `${POOL}/sub/srv/new`), 'new')
      t.match(await run('machinectl', 'umount', 'sub'), NOTHING)
      await host.run(['btrfs', 'property', 'set', `${POOL}/sub`, 'ro', 'true'])
      t.match(await run('machinectl', 'mount', 'sub'), { exitCode: 0 })
      t.equal(await client.output('machinectl', 'mounts', '--no-legend'), `sub ${POINT}/sub yes`, 'a read-only one')
      t.match(await run('machinectl', 'umount', 'sub'), NOTHING)
    })

    await t.test('a disk with partitions', async (t) => {
      t.match(await run('machinectl', 'mount', 'parts'), { ...NOTHING, stdout: `Mount point: ${POINT}/parts` })
      t.equal(await client.output('cat', `${POINT}/parts/token`, `${POINT}/parts/home/token`), 'root\nhome')
      const mounts = await client.output('grep', ` ${POINT}/parts`, '/proc/self/mountinfo')
      t.equal(mounts.match(/ rw,nosuid,nodev\S* - ext4 /g)?.length, 2)
      await host.run(['systemctl', 'restart', UNIT])
      t.match(await run('machinectl', 'umount', 'parts'), NOTHING)
      t.equal(await client.output('ls', POINT), '')
      const isFree = async (): Promise<boolean> => !(await client.output('losetup', '--all')).includes('parts.raw')
      await host.waitFor(isFree, 'the loop device to be free')
      t.match(await run('machinectl', 'mount', 'parts', '--read-only'), { exitCode: 0 })
      t.match((await run('touch', `${POINT}/parts/home/x`)).stderr, /Read-only file system$/)
      t.match(await run('machinectl', 'umount', 'parts'), NOTHING)
    })

    await t.test('a machine with a root in user space', async (t) => {
      t.match(await client.output('machinectl', 'list', '--no-legend'), /^fuse +container +test +fuse/m)
      t.match(await run('machinectl', 'mount', 'fuse'), { ...NOTHING, stdout: `Mount point: ${POINT}/fuse` })
      t.equal(await client.output('cat', `${POINT}/fuse/etc/token`), 'fuse')
      t.equal(await client.output('ls', `${POINT}/fuse`), 'dev\netc\nproc\nsys\nusr')
      t.match(await run('machinectl', 'umount', 'fuse'), NOTHING)
      t.match(await run('machinectl', 'mount', 'fuse', '--recursive', '--read-only'), { exitCode: 0 })
      t.equal(await client.output('cat', `${POINT}/fuse/etc/token`), 'fuse')
      await host.run(['systemctl', 'kill', '--signal=KILL', 'fuse'])
      await host.waitFor(async () => (await client.output('ls', POINT)) === '', 'the mount to go with it')
    })

    await t.test('copies on one file system share what is in them', async (t) => {
      await host.run(['sh', '-euc', `mkdir ${POOL}/.here; head -c 8M /dev/urandom >${POOL}/.here/big`])
      const [here, back, inside] = [`${POOL}/.here/big`, `${POOL}/.here/back`, `${POOL}/live/srv/big`]
      t.equal((await client.call('CopyToMachine', 'sss', 'live', here, '/srv/big')).stderr, '')
      t.equal((await client.call('CopyFromMachine', 'sss', 'live', '/srv/big', back)).stderr, '')
      const extents = await extentsOf(client, here)
      t.ok(extents.length > 0 && extents.every((extent) => extent.includes('shared')))
      t.strictSame(await extentsOf(client, inside), extents)
      t.strictSame(await extentsOf(client, back), extents)
      await host.run(['cp', '--reflink=never', here, `${POOL}/.here/other`])
      t.notSame(await extentsOf(client, `${POOL}/.here/other`), extents)
    })

    if (systemd >= 262) await t.test('mounts over Varlink', (t) => varlinkMounts(t, host, client))
  })
}

async function varlinkMounts(t: Test, host: TestHost, client: Client): Promise<void> {
  const varlinkctl = (...words: string[]): Promise<string> => client.output('varlinkctl', '--no-pager', ...words)
  const shown = await varlinkctl('introspect', MACHINE_SOCKET, MOUNT)
  for (const name of ['Mount', 'Unmount', 'ListMounts']) t.match(shown, `method ${name}(`)
  const call = async (method: string, parameters: object): Promise<unknown> =>
    JSON.parse(await varlinkctl('-j', 'call', MACHINE_SOCKET, `${MOUNT}.${method}`, JSON.stringify(parameters)))
  t.strictSame(await call('Mount', { name: 'live' }), { mountPoint: `${POINT}/live` })
  t.strictSame(await call('Mount', { name: 'sub', readOnly: true, recursive: true }), { mountPoint: `${POINT}/sub` })
  const mounts = [
    { name: 'live', mountPoint: `${POINT}/live`, readOnly: false },
    { name: 'sub', mountPoint: `${POINT}/sub`, readOnly: true }
  ]
  t.strictSame(await call('ListMounts', {}), { mounts })
  t.equal(await client.output('cat', `${POINT}/live/etc/token`), 'sub')

  const holder = host.spawn(['sh', '-c', `cd ${POINT}/live/etc; exec sleep 1003`])
  const pidOf = async (): Promise<string> => (await host.run(['pgrep', '-xf', 'sleep 1003'], { reject: false })).stdout
  await host.waitFor(async () => /^\d+$/.test(await pidOf()), 'the holder to run')
  t.strictSame(await callOne(host, `${MOUNT}.Unmount`, { name: 'live' }), {
    error: `${MOUNT}.InUse`,
    parameters: { holders: [{ pid: Number(await pidOf()), name: 'sleep' }] }
  })
  t.strictSame(await callOne(host, `${MOUNT}.Unmount`, { name: 'live', lazy: true }), {})
  holder.kill()
  t.strictSame(await callOne(host, `${MOUNT}.Unmount`, { name: 'sub' }), {})
  t.strictSame(await call('ListMounts', {}), { mounts: [] })

  t.match(await callOne(host, `${MOUNT}.Unmount`, { name: 'sub' }), { parameters: { errnoName: 'ENOENT' } })
  t.strictSame(await callOne(host, `${MOUNT}.Mount`, { name: 'none' }), { error: `${MOUNT}.NoSuchMachine` })
  t.strictSame(await callOne(host, `${MOUNT}.Mount`, { name: '.host' }), { error: `${MOUNT}.NotSupported` })
  t.match(await callOne(host, `${MOUNT}.Mount`, { name: 1 }), { parameters: { parameter: 'name' } })
  const user = { user: 'nobody' }
  for (const [method, name] of [['Mount', 'live'] as const, ['Unmount', 'sub'] as const]) {
    t.strictSame(await callOne(host, `${MOUNT}.${method}`, { name }, user), {
      error: 'io.systemd.InteractiveAuthenticationRequired'
    })
  }
  t.strictSame(await callOne(host, `${MOUNT}.ListMounts`, {}, user), { parameters: { mounts: [] } })
}

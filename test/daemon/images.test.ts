import t from 'tap'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'

/** Where image files are that are mounted, attached or linked to. */
const STORE = '/srv/images'
/** Names that no image is listed by, of all kinds. */
const UNLISTED = ['nope', '', '..', 'a/b', '.#x', 'none', 'dangling', 'fifo', 'versions_1', 'full.raw', 'stack.mstack']
const MORE = ['only', 'char', 'socket', 'no-suffix', '.sysupdate.partial', 'file', 'null-link', 'self', 'linked.raw']

const here = join(process.cwd(), 'test/daemon')
const [tree, dump] = ['image-tree.sh', 'image-dump.py'].map((name) => readFileSync(join(here, name), 'utf8'))

const host = await TestHost.start({ root: 'testing' })
const client = new Client(host)
t.teardown(async () => {
  // Loop devices are the whole machine's.
  const detach = `for file in ${STORE}/disk.raw ${STORE}/disk.img; do losetup -n -O NAME -j "$file" | xargs -rn1 losetup -d; done`
  await host.run(['sh', '-c', detach], { reject: false })
  await host.stop()
})

async function show(): Promise<string[]> {
  return (await host.run(['python3', '-', ...UNLISTED, ...MORE], { input: dump ?? '' })).stdout.split('\n')
}

await host.run(['sh', '-s', STORE], { input: tree ?? '' })
await host.startContainer('running')
await host.useStock()
const stock = await show()
await host.useOurs()
const ours = await show()

t.test('images, their attributes and metadata, and errors are those of the stock daemon', (t) => {
  t.ok(stock.filter((line) => line.startsWith('== ')).length > 100)
  t.strictSame(ours, stock)
  t.end()
})

t.test('what is in an image neither blocks the daemon nor leads out of the image', async (t) => {
  const script = `
    cd /var/lib/machines
    for name in fifo huge zero host; do mkdir -p "hostile-$name/etc"; done
    mkfifo hostile-fifo/etc/os-release hostile-fifo/etc/hostname hostile-fifo/etc/machine-id hostile-fifo/etc/machine-info
    truncate -s 1T hostile-huge/etc/os-release
    mknod hostile-zero/etc/os-release c 1 5
    ln -s /proc/1/root/etc/os-release hostile-host/etc/os-release
    ln -s ../../../../../../../etc/hostname hostile-host/etc/hostname`
  await host.run(['sh', '-euc', script])
  for (const name of ['fifo', 'huge', 'zero', 'host']) {
    const image = `hostile-${name}`
    t.equal((await client.call('GetImageOSRelease', 's', image)).stdout, 'a{ss} 0', name)
    t.equal((await client.call('GetImageHostname', 's', image)).stdout, 's ""', name)
  }
})

t.test('an entry that cannot be looked at hides no other', async (t) => {
  await host.run(['sh', '-euc', 'cd /var/lib/machines && ln -s loop-a loop-b && ln -s loop-b loop-a'])
  t.match((await client.call('ListImages')).stdout, /"good" "directory"/)
  t.not((await client.call('GetImage', 's', 'loop-a')).exitCode, 0)
})

t.test('a list shows at once what was done to an image that has long been the same', async (t) => {
  const image = '/var/lib/machines/long-the-same'
  await host.run(['mkdir', image])
  const row = async (): Promise<string | undefined> => {
    const { stdout } = await client.call('ListImages')
    return /"long-the-same" "directory" (\w+ \d+)/.exec(stdout)?.[1]
  }
  const before = await row()
  t.match(before, /^false [1-9]/)
  const created = before?.replace(/^false /, '') ?? ''
  const steps = [
    [`chattr +i ${image}`, `true ${created}`],
    [`chattr -i ${image}`, before],
    [`mount --bind ${image} ${image}`, before],
    [`mount -o remount,bind,ro ${image}`, `true ${created}`],
    [`umount ${image}`, before],
    [`python3 -c 'import os, struct; os.setxattr("${image}", "user.crtime_usec", struct.pack("<Q", 5))'`, 'false 5'],
    [`mv ${image} ${image}.away`, undefined],
    [`mv ${image}.away ${image}`, 'false 5']
  ] as const
  for (const [step, expected] of steps) {
    // The second list knows what the first one found to be settled.
    await row()
    await row()
    await host.run(['sh', '-euc', step])
    t.equal(await row(), expected, step)
  }
})

t.test('machinectl shows images', async (t) => {
  t.match(await client.output('machinectl', 'list-images', '--no-legend'), /^good +directory +no/m)
  const status = await client.output('machinectl', 'image-status', 'good')
  t.match(status, /Path: \/var\/lib\/machines\/good/)
  t.match(status, /OS: Test good|Hostname: host/)
  t.match(await client.output('machinectl', 'show-image', 'good'), /^ReadOnly=no$/m)
  await host.writeFile('/etc/systemd/nspawn/good.nspawn', '[Exec]\nBoot=no\n')
  t.match(await client.output('machinectl', 'cat', 'good'), /^Boot=no$/m)
})

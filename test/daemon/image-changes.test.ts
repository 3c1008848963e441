import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { TestHost } from '../host/host.ts'
import { projectDirectory } from '../host/root.ts'
import { Client, ROOTS } from './client.ts'
import { MOUNT_FILE, POOL, renewPool } from './image-pool.ts'

const NAME = 'org.freedesktop.machine1'
const PATH = '/org/freedesktop/machine1'
const LIST = '/root/list.py'

/** Fills the pool with images: directory or subvolume, disk, hidden, vendor's, block device, mount stack. */
const FILL = `
cd ${POOL}
for name in one .hidden; do
  if [ "$1" = btrfs ]; then btrfs -q subvolume create $name; else mkdir $name; fi
  mkdir -p $name/etc $name/usr/lib/deep; echo ID=test >$name/usr/lib/os-release; echo x >$name/etc/file
  ln $name/etc/file $name/etc/again; ln -s /etc/passwd $name/away; mkfifo $name/pipe; mknod $name/null c 1 3
  chmod 4755 $name/etc/file; chown 12:34 $name/etc; chmod 1777 $name/usr/lib/deep
  python3 -c 'import os, sys; n = sys.argv[1]; os.setxattr(n + "/etc/file", "user.note", b"kept"); os.setxattr(n + "/etc", "user.note", b"kept")' $name
  find $name -exec touch -h -d '2001-02-03 04:05:06.123456789' {} +
done
if [ "$1" = btrfs ]; then btrfs -q subvolume create one/usr/nested; echo n >one/usr/nested/file; touch -d @1 one/usr/nested one/usr; fi
truncate -s 3M disk.raw; echo data | dd of=disk.raw bs=1 seek=1000000 conv=notrunc status=none; touch -d @1 disk.raw
mkdir stack.mstack stack.mstack/root
mkdir -p /usr/lib/machines/vendor /etc/systemd/nspawn
echo settings >/etc/systemd/nspawn/one.nspawn; touch -d @1 /etc/systemd/nspawn/one.nspawn`

/** Does the steps given as JSON, one after the other, in the host: gives what each printed, and its exit code. */
const DO_STEPS = `
import json, subprocess, sys
def run(step):
    done = subprocess.run(step, capture_output=True, text=True)
    return f"{done.returncode} {done.stdout}{done.stderr}"
print(json.dumps([run(step) for step in json.load(sys.stdin)]))`

/** Shows all that is in the pool. */
const STATE = `
cd ${POOL}; python3 ${LIST} . | tail -n +2; lsattr -d -- * .[!.]* 2>/dev/null | sort -k2
head -50 /etc/systemd/nspawn/* 2>&1 || true
btrfs subvolume list -ro . 2>/dev/null | sed 's/.*path//'
btrfs qgroup show -re --raw . 2>/dev/null | sed 's/ .* / /' | sort || true`

type Step = readonly [command: string, ...args: string[]]

const state: Step = ['sh', '-c', STATE]
const call = (member: string, ...args: string[]): Step => [
  'busctl',
  'call',
  NAME,
  PATH,
  `${NAME}.Manager`,
  member,
  ...args
]

/** What clients do with the pool, in this order; what it comes to has to be the same with both daemons. */
const STEPS: readonly Step[] = [
  ['machinectl', 'clone', 'one', 'copy'],
  ['machinectl', 'clone', '--read-only', 'one', 'fixed'],
  ['machinectl', 'clone', 'disk', 'disk2'],
  ['machinectl', 'clone', '--read-only', 'disk', 'disk3'],
  ['machinectl', 'clone', 'vendor', 'ours'],
  ['machinectl', 'clone', '.hidden', 'shown'],
  state,
  ['machinectl', 'clone', 'one', 'copy'],
  ['machinectl', 'clone', 'one', 'disk'],
  ['machinectl', 'clone', 'one', '.host'],
  ['machinectl', 'clone', 'one', 'a/b'],
  ['machinectl', 'clone', 'one', ''],
  ['machinectl', 'clone', 'none', 'x'],
  ['machinectl', 'clone', 'stack', 'x'],
  ['machinectl', 'clone', 'block', 'x'],
  ['machinectl', 'rename', 'copy', 'moved'],
  ['machinectl', 'rename', 'fixed', 'fixed2'],
  ['machinectl', 'rename', 'disk3', 'disk4'],
  ['machinectl', 'rename', '.hidden', '.hidden2'],
  state,
  ['machinectl', 'rename', 'moved', 'one'],
  ['machinectl', 'rename', 'moved', 'disk'],
  ['machinectl', 'rename', 'moved', 'a/b'],
  ['machinectl', 'rename', 'moved', '.host'],
  ['machinectl', 'rename', '.host', 'x'],
  ['machinectl', 'rename', 'vendor', 'x'],
  ['machinectl', 'rename', 'none', 'x'],
  ['machinectl', 'read-only', 'moved'],
  ['machinectl', 'read-only', 'fixed2', 'false'],
  ['machinectl', 'read-only', 'disk2'],
  ['machinectl', 'read-only', 'disk4', 'false'],
  state,
  ['machinectl', 'read-only', 'stack'],
  ['machinectl', 'read-only', 'vendor'],
  ['machinectl', 'read-only', '.host'],
  ['machinectl', 'read-only', '.hidden2', 'false'],
  ['machinectl', 'read-only', 'none'],
  ['machinectl', 'set-limit', 'one', '100M'],
  ['machinectl', 'set-limit', 'disk', '100M'],
  ['machinectl', 'set-limit', '.host', '100M'],
  call('SetImageLimit', 'st', 'one', '9223372036854775808'),
  call('SetPoolLimit', 't', '9223372036854775808'),
  call('CleanPool', 's', 'some'),
  call('RemoveImage', 's', 'a/b'),
  ['machinectl', 'set-limit', '100M'],
  ['machinectl', 'set-limit', 'one', '50M'],
  call('GetImage', 's', 'one'),
  ['machinectl', 'clone', 'one', 'limited'],
  ['machinectl', 'set-limit', 'one', '-'],
  ['machinectl', 'remove', 'limited', 'vendor'],
  state,
  ['machinectl', 'remove', '.host'],
  ['machinectl', 'remove', 'none'],
  ['machinectl', 'remove', 'stack', 'ours'],
  ['machinectl', 'clean'],
  state,
  ['machinectl', 'clean', '--all'],
  state
]

/** What each client can do with images, all of which has to succeed. */
const CLIENT_STEPS: readonly Step[] = [
  ['machinectl', 'clone', 'one', 'copy'],
  ['machinectl', 'clone', '--read-only', 'one', 'fixed'],
  ['machinectl', 'clone', 'disk', 'disk2'],
  ['machinectl', 'rename', 'copy', 'moved'],
  ['machinectl', 'read-only', 'moved'],
  ['machinectl', 'read-only', 'disk2', 'false'],
  ['machinectl', 'set-limit', '100M'],
  ['machinectl', 'set-limit', 'one', '50M'],
  ['machinectl', 'remove', 'fixed'],
  ['machinectl', 'clone', 'one', '.hidden2'],
  ['sh', '-c', `btrfs property set ${POOL}/.hidden2 ro true; btrfs property set ${POOL}/.hidden ro true`],
  ['machinectl', 'clean']
]

/**
 * Takes out when things were made in the test, and when the top of an image changed, which ours keeps and stock does not; in
 * which order images are cleaned, and what disks took, whose holes ours keeps.
 */
function comparable(text: string): string {
  if (/^0 Removed/.test(text))
    return text
      .slice(2)
      .replace(/Freed.*/g, '')
      .split('\n')
      .sort()
      .join()
  return text
    .replace(/^([^\s/]+ 0o4\d+ .*) \d{18,} /gm, '$1 top ')
    .replace(/ 1[789]\d{17} /g, ' now ')
    .replace(/('user.crtime_usec', )b(['"]).*?\2/g, '$1time')
}

for (const { root, systemd } of ROOTS) {
  t.test(`images are changed by clients of systemd ${String(systemd)}`, async (t) => {
    const host = await TestHost.start({ root })
    t.teardown(() => host.stop())
    const client = new Client(host)
    await host.writeFile(LIST, readFileSync(join(projectDirectory(), 'test/daemon/copy-tree.py'), 'utf8'))
    const sh = (script: string, ...args: string[]): Promise<string> =>
      client.output('sh', '-euc', script, 'sh', ...args)
    await sh(`${MOUNT_FILE}
      truncate -s 1M /root/block; mkfs.ext4 -q /root/block; mkdir /root/mounted; mount_file /root/block /root/mounted
      mkdir -p /etc/machines; ln -s "$(findmnt -no SOURCE /root/mounted)" /etc/machines/block`)

    /** All that comes of STEPS with the daemon that runs. */
    async function results(kind: 'ext4' | 'btrfs'): Promise<string[]> {
      await renewPool(client, kind)
      await sh(FILL, kind)
      const { stdout } = await host.run(['python3', '-c', DO_STEPS], { input: JSON.stringify(STEPS) })
      return (JSON.parse(stdout) as string[]).map(comparable)
    }

    // Texts differ from version to version; ours are those of the newest.
    for (const kind of systemd < 262 ? [] : (['ext4', 'btrfs'] as const)) {
      await t.test(`results and errors on ${kind} are those of the stock daemon`, async (t) => {
        await host.useStock()
        const stock = await results(kind)
        await host.useOurs()
        const ours = await results(kind)
        STEPS.forEach((step, index) => {
          t.equal(ours[index], stock[index], `${String(index)} ${step.join(' ')}`)
        })
      })
    }

    await t.test('clients can do all that there is to do', async (t) => {
      await renewPool(client, 'btrfs')
      await sh(FILL, 'btrfs')
      for (const step of CLIENT_STEPS) t.match(await host.run(step, { reject: false }), { exitCode: 0 }, step.join(' '))
      t.equal(await client.output('ls', '-A', POOL), 'disk.raw\ndisk2.raw\nmoved\none\nstack.mstack')
      t.match(await client.output('machinectl', 'show-image', 'one'), 'Limit=52428800')
    })
  })
}

import t from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'
import { POOL, renewPool } from './image-pool.ts'

const NAME = 'org.freedesktop.machine1'
const PATH = '/org/freedesktop/machine1'

type Tap = Pick<typeof t, 'equal' | 'match' | 'not' | 'notMatch' | 'ok'>

t.test('images are safe', async (t) => {
  const host = await TestHost.start({ root: 'testing' })
  t.teardown(() => host.stop())
  const client = new Client(host)
  await t.test('an image that runs is busy, and one that is worked on does not start', (t) => locks(t, host, client))
  await t.test('where ours is better than stock', (t) => improvements(t, host, client))
  await t.test('who may do what', (t) => authorization(t, host, client))
  await t.test('a daemon that is killed leaves no half image', (t) => kills(t, host, client))
})

/**
 * Makes a call of the Manager and sends the daemon a signal as soon as there is a file like `$2`. All in one shell, without
 * starting anything in between: what is called is not over that quickly.
 */
const SIGNAL_WHEN = `
signal=$1 pattern=$2; shift 2
pid=$(systemctl show -P MainPID systemd-machined)
busctl call ${NAME} ${PATH} ${NAME}.Manager "$@" 2>&1 &
call=$!
try=0; while [ $((try += 1)) -lt 500000 ]; do set -- $pattern; [ ! -e "$1" ] || break; done
kill -$signal $pid
wait $call || true`

async function locks(t: Tap, host: TestHost, client: Client): Promise<void> {
  const sh = (script: string): Promise<string> => client.output('sh', '-euc', script)
  // In a lower layer of overlayfs, directories cannot be renamed: this one is removed where it is.
  await sh(`cd /; umount ${POOL} 2>/dev/null || true; mkdir -p ${POOL}; mkdir -p /run/layer/lower/big /run/layer/lower/run/usr /run/layer/upper /run/layer/work
        cd /run/layer/lower/big; mkdir usr; for n in $(seq 10000); do : >$n; done
        for name in bin lib lib64 sbin; do ln -s usr/$name /run/layer/lower/run/$name; done
        mount -t tmpfs tmpfs ${POOL}; mkdir ${POOL}/run
        mount --bind /usr /run/layer/lower/run/usr
        mount -t overlay -o lowerdir=/run/layer/lower,upperdir=/run/layer/upper,workdir=/run/layer/work overlay ${POOL}
        mount --bind /usr ${POOL}/run/usr`)
  const nspawn = ['systemd-nspawn', '-q', '--register=no', '--keep-unit', '-D']
  await client.output('systemd-run', '-q', '--unit=runs', '--collect', ...nspawn, `${POOL}/run`, 'sleep', 'infinity')
  await host.waitFor(
    async () => (await host.run(['test', '-e', `${POOL}/.#run.lck`], { reject: false })).exitCode === 0,
    'the lock'
  )
  for (const [member, ...args] of [
    ['RemoveImage', 's', 'run'],
    ['RenameImage', 'ss', 'run', 'x'],
    ['MarkImageReadOnly', 'sb', 'run', 'true']
  ] as const) {
    t.match((await client.call(member, ...args)).stderr, 'Device or resource busy', member)
  }
  await sh(`systemctl stop runs; umount ${POOL}/run/usr`)
  // When the first file is gone: the file that is locked is there a moment before the lock.
  const gone = '/run/layer/upper/big/*'
  const removal = client.output('sh', '-euc', SIGNAL_WHEN, 'sh', 'STOP', gone, 'RemoveImage', 's', 'big')
  await host.waitFor(
    async () => /State:\s+T/.test(await sh('cat /proc/$(systemctl show -P MainPID systemd-machined)/status')),
    'the daemon to be stopped'
  )
  t.ok(await sh(`ls ${POOL}/big`), 'it is not over yet')
  const refused = await host.run([...nspawn, `${POOL}/big`, 'true'], { reject: false })
  t.match(refused.stderr, /currently busy|Device or resource busy/)
  await host.run(['systemctl', 'kill', '-s', 'CONT', 'systemd-machined'])
  t.equal(await removal, '')
  t.equal(await client.output('ls', '-A', POOL), 'run')
  t.equal(await client.output('ls', '-A', '/run/systemd/nspawn/locks'), '')
}

/** Where ours is better on purpose. */
async function improvements(t: Tap, host: TestHost, client: Client): Promise<void> {
  const sh = (script: string): Promise<string> => client.output('sh', '-euc', script)
  await renewPool(client, 'ext4')
  await sh(`cd ${POOL}; mkdir -p foreign one /srv/target /etc/machines; echo f >foreign/file; chown -R 2147352576:2147352576 foreign
    ln -s /srv/target /etc/machines/link; echo h >one.roothash; mkdir -p one/mounted
    mkdir versions.v versions.v/versions_1 versions.v/versions_2 one/shut; chmod 0 one/shut`)
  await client.output('machinectl', 'clone', 'foreign', 'foreign2')
  t.equal(await sh(`stat -c %u ${POOL}/foreign2/file`), '2147352576')
  await client.output('machinectl', 'remove', 'foreign', 'foreign2')
  await client.output('machinectl', 'rename', 'link', 'link2')
  await client.output('machinectl', 'remove', 'link2')
  t.equal(await sh('ls -d /srv/target; ls /etc/machines'), '/srv/target')
  await client.output('machinectl', 'rename', 'one', 'two')
  await client.output('machinectl', 'clone', 'two', 'three')
  t.equal(await sh(`cat ${POOL}/two.roothash ${POOL}/three.roothash`), 'h\nh')
  t.match((await client.call('RenameImage', 'ss', 'versions', 'x')).stderr, 'not supported')
  await client.output('machinectl', 'remove', 'versions')
  t.match(await client.output('machinectl', 'show-image', 'versions'), 'versions_1', 'the older version is there now')
  await sh(`mount -t tmpfs tmpfs ${POOL}/two/mounted; echo kept >${POOL}/two/mounted/kept`)
  t.match((await client.call('RemoveImage', 's', 'two')).stderr, 'busy')
  t.equal(await sh(`cat ${POOL}/two/mounted/kept; umount ${POOL}/two/mounted`), 'kept')

  await host.writeFile(
    '/run/systemd/system/systemd-machined.service.d/weak.conf',
    '[Service]\nCapabilityBoundingSet=~CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH\n'
  )
  await sh('systemctl daemon-reload; systemctl restart systemd-machined')
  t.match((await client.call('CloneImage', 'ssb', 'two', 'x', 'false')).stderr, /denied/)
  t.notMatch(await client.output('ls', '-A', POOL), /^(x|\.#)/m)
  await sh(
    'rm -r /run/systemd/system/systemd-machined.service.d; systemctl daemon-reload; systemctl restart systemd-machined'
  )
}

const RULES = `
polkit.addRule(function (action, subject) {
  if (subject.user != "nobody" || action.id.indexOf("${NAME}.") != 0) return polkit.Result.NOT_HANDLED
  var told = ["image", "machine", "verb", "new_name", "read_only", "mode"].map(function (key) { return action.lookup(key) })
  return action.id.slice("${NAME}.".length) + "/" + told.join("/") in { __ALLOWED__ } ? polkit.Result.YES : polkit.Result.NO
})`

/** Each call with what polkit is told about it, as it stands in the rule that allows it. */
const RULED: readonly (readonly [told: string, call: readonly [string, ...string[]]])[] = [
  ['manage-images/one//clone/new//', ['CloneImage', 'ssb', 'one', 'new', 'false']],
  ['manage-images/new//rename/newer//', ['RenameImage', 'ss', 'new', 'newer']],
  ['manage-images/newer//mark_read_only//1/', ['MarkImageReadOnly', 'sb', 'newer', 'true']],
  ['manage-images//newer/set_limit///', ['SetImageLimit', 'st', 'newer', '1']],
  ['manage-images/newer//remove///', ['RemoveImage', 's', 'newer']],
  ['manage-machines///set_pool_limit///', ['SetPoolLimit', 't', '1']],
  ['manage-machines///clean_pool///all', ['CleanPool', 's', 'all']]
]

async function authorization(t: Tap, host: TestHost, client: Client): Promise<void> {
  await renewPool(client, 'ext4')
  await client.output('mkdir', `${POOL}/one`)
  const asNobody = ([member, ...args]: readonly [string, ...string[]]): Promise<string> =>
    host
      .run(['busctl', 'call', NAME, PATH, `${NAME}.Manager`, member, ...args], { user: 'nobody', reject: false })
      .then(({ stderr }) => stderr)
  for (const [, call] of RULED.slice(0, 1)) t.match(await asNobody(call), /interactive authentication|Access denied/i)
  t.match(await asNobody(['RemoveImage', 's', 'one']), /interactive authentication|Access denied/i)
  t.match(await asNobody(['RemoveImage', 's', 'none']), "No image 'none' known", 'names are looked up first')
  t.match(await asNobody(['CleanPool', 's', 'some']), "Unknown mode 'some'.")
  const allowed = RULED.map(([told]) => `"${told}": 1`)
  await host.writeFile('/etc/polkit-1/rules.d/10-images.rules', RULES.replace('__ALLOWED__', allowed.join(', ')))
  const [first, ...others] = RULED
  await host.waitFor(async () => first !== undefined && (await asNobody(first[1])) === '', 'polkit to load the rule')
  for (const [told, call] of others) {
    const isUnsupported = call[0].endsWith('Limit')
    t.match(await asNobody(call), isUnsupported ? /not supported|only supported/ : /^$/, told)
  }
  t.match(await asNobody(['CleanPool', 's', 'hidden']), /Access denied|Permission denied/, 'what is not in the rule')
}

async function kills(t: Tap, host: TestHost, client: Client): Promise<void> {
  const sh = (script: string): Promise<string> => client.output('sh', '-euc', script)
  await renewPool(client, 'ext4')
  await sh(`mkdir ${POOL}/big; cd ${POOL}/big; for d in $(seq 50); do mkdir $d; (cd $d; touch $(seq 200)); done`)
  const swept = async (): Promise<boolean> => !/machined/.test(await client.output('ls', '-A', POOL))
  for (const [pattern, call] of [
    ['clone', ['CloneImage', 'ssb', 'big', 'copy', 'false']],
    ['removal', ['RemoveImage', 's', 'big']]
  ] as const) {
    // Each file that is made or removed waits for the disk, so that nothing is over before the signal comes.
    await sh(`mount -o remount,sync ${POOL}`)
    const script = `${SIGNAL_WHEN}\nls -A ${POOL}`
    const names = await client.output('sh', '-euc', script, 'sh', 'KILL', `${POOL}/.#*.machined-${pattern}`, ...call)
    t.match(names, `machined-${pattern}`)
    t.equal(/^copy$/m.test(names), false)
    t.equal(/^big$/m.test(names), pattern === 'clone')
    await sh(`mount -o remount,async ${POOL}`)
    await client.output('machinectl', 'list-images')
    await host.waitFor(swept, 'what is left to be removed')
    t.equal(/^big$/m.test(await client.output('ls', '-A', POOL)), pattern === 'clone')
  }
}

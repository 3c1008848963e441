import t from 'tap'
import { TestHost, type RunResult } from '../host/host.ts'
import { Client, ROOTS } from './client.ts'

/** Sources on the host: /run is a tmpfs, which can map users, and / an overlay, which cannot. */
const MAKE_SOURCES = `
mkdir -p /run/src/below /run/other /root/src
mount -t tmpfs below /run/src/below
echo first >/run/src/file; echo second >/run/other/file; : >/run/src/below/unseen; echo single >/run/one
ln -s src /run/link; ln -s nowhere /run/dangling
`
const MAKE_TARGETS = `
mkdir -p /mnt/dir /mnt/full /mnt/swap; echo hidden >/mnt/full/file; : >/mnt/file; ln -s /mnt/dir /mnt/link; ln -s / /mnt/top
ln -s /proc/1/root/mnt /mnt/magic; ln -s nowhere /mnt/dangling; ln -s ../../../../../../mnt /mnt/out
`

/** Arguments whose replies are the stock daemon's. */
const CALLS: readonly (readonly string[])[] = [
  ['plain', '/run/src', '/mnt/nowhere', 'false', 'false'],
  ['plain', '/run/src', '/nowhere/deep', 'false', 'false'],
  ['plain', '/run/nowhere', '/mnt/dir', 'false', 'false'],
  ['plain', '/run/dangling', '/mnt/dir', 'false', 'false'],
  ['plain', '/run/src', '/mnt/file', 'false', 'false'],
  ['plain', '/run/one', '/mnt/dir', 'false', 'false'],
  ['plain', '/run/one', '/mnt/file/below', 'false', 'true'],
  ['plain', '/run/src', '/mnt/dangling', 'false', 'false'],
  ['plain', '/run/src', '/mnt/link', 'false', 'false'],
  ['plain', '/run/src', '/mnt/link/nowhere', 'false', 'false'],
  ['plain', '/run/src', '', 'false', 'false'],
  ['plain', 'run/src', '/mnt/dir', 'false', 'false'],
  ['plain', '/run/../src', '/mnt/dir', 'false', 'false'],
  ['plain', '/run/src', 'mnt', 'false', 'false'],
  ['plain', '/run/src', '/mnt//dir', 'false', 'false'],
  ['.host', 'run', '/mnt', 'false', 'false'],
  ['none', '/run', '/mnt', 'false', 'false'],
  ['shared', '/run/src', '/mnt', 'false', 'false']
]

for (const { root, systemd } of ROOTS) {
  t.test(`bind mounts on systemd ${String(systemd)}`, async (t) => {
    const host = await TestHost.start({ root })
    t.teardown(() => host.stop())
    const client = new Client(host)
    await host.startContainer('plain')
    await host.startContainer('veiled', ['-U'])
    await client.register('shared', await client.startProcess('shared'))
    await host.run(['sh', '-euc', MAKE_SOURCES])

    /** The command that runs a shell script in a container, as its root. */
    async function enter(name: string, script: string): Promise<string[]> {
      const namespaces = ['--mount', '--pid', '--root', '--wd', ...(name === 'veiled' ? ['--user'] : [])]
      return ['nsenter', `--target=${await client.leader(name)}`, ...namespaces, 'sh', '-euc', script]
    }
    const inside = async (name: string, script: string): Promise<string> =>
      (await host.run(await enter(name, script))).stdout
    const bind = (...args: string[]): Promise<RunResult> => host.run(['machinectl', 'bind', ...args], { reject: false })
    const done = { stdout: '', stderr: '', exitCode: 0 }
    for (const name of ['plain', 'veiled']) await inside(name, MAKE_TARGETS)

    for (const name of ['plain', 'veiled']) {
      await t.test(`directories and files, in ${name}`, async (t) => {
        t.match(await bind(name, '/run/link', '/mnt/dir'), done, 'links of the host lead where they lead there')
        t.equal(
          await inside(name, 'cat /mnt/dir/file; ls -A /mnt/dir/below'),
          'first',
          'and what is mounted below stays away'
        )
        await inside(name, 'echo written >/mnt/dir/new; mkdir /mnt/dir/made; chown 5:6 /mnt/dir/made')
        t.equal(await inside(name, 'stat -c %u:%g /mnt/dir/file /mnt/dir/new'), '0:0\n0:0')
        const owners = await client.output('stat', '-c', '%u:%g', '/run/src/new', '/run/src/made')
        t.equal(owners, '0:0\n5:6', 'its users are those of the host')
        await host.run(['rm', '-r', '/run/src/new', '/run/src/made'])

        t.match(await bind(name, '/run/one', '/mnt/file'), done)
        t.equal(await inside(name, 'cat /mnt/file'), 'single')
      })

      await t.test(`read-only, in ${name}`, async (t) => {
        t.match(await bind('--read-only', name, '/run/src', '/mnt/dir'), done)
        const tried = await inside(name, 'cat /mnt/dir/file; touch /mnt/dir/x 2>&1 || :')
        t.match(tried, /^first\n.*Read-only file system$/)
        await host.run(['touch', '/run/src/by-host'])
        t.equal(await inside(name, 'ls /mnt/dir'), 'below\nby-host\nfile')
        await host.run(['rm', '/run/src/by-host'])
      })

      await t.test(`what is missing is made, in ${name}`, async (t) => {
        t.match(await bind('--mkdir', name, '/run/src', '/opt/a/b/c'), done)
        t.match(await bind('--mkdir', name, '/run/one', '/opt/a/file'), done)
        t.equal(await inside(name, 'cat /opt/a/b/c/file /opt/a/file'), 'first\nsingle')
        await inside(name, 'umount /opt/a/b/c /opt/a/file')
        const made = await inside(name, 'stat -c "%n %a %u:%g %F" /opt/a /opt/a/b /opt/a/b/c /opt/a/file')
        const expected = ['/opt/a 755', '/opt/a/b 755', '/opt/a/b/c 700', '/opt/a/file 600']
        t.same(made.match(/^\S+ \d+/gm), expected)
        t.match(made, /^(.* 0:0 (directory|regular empty file)\n?){4}$/)
      })

      await t.test(`a bind takes the place of another at once, in ${name}`, async (t) => {
        await inside(name, 'umount /mnt/full 2>/dev/null || :')
        t.match(await bind(name, '/run/src', '/mnt/full'), done)
        const reading = host.spawn(
          await enter(name, 'echo; until [ -e /mnt/stop ]; do cat /mnt/full/file || echo missing; done | sort | uniq')
        )
        let seen = ''
        reading.stdout.on('data', (data: Buffer) => (seen += data.toString()))
        await host.waitFor(() => seen !== '', 'the reader to begin')
        for (let turn = 0; turn < 8; turn++) {
          t.match(await bind(name, turn % 2 === 0 ? '/run/other' : '/run/src', '/mnt/full'), done)
        }
        await inside(name, 'touch /mnt/stop')
        await host.waitFor(() => reading.exitCode !== null, 'the reader to end')
        t.match(seen, /^\nfirst\n(second\n)?$/)
        t.equal(await inside(name, "grep -c ' /mnt/full ' /proc/self/mountinfo"), '1')
      })
    }

    await t.test('a file system that cannot map users is refused, and nothing is left', async (t) => {
      const { stderr, exitCode } = await bind('--mkdir', 'veiled', '/root/src', '/opt/none')
      t.match(
        stderr,
        /Can't bind mount on container with user namespacing applied\. The file system of \/root\/src cannot map users\.$/
      )
      t.equal(exitCode, 1)
      t.equal(
        await inside('veiled', 'ls -d /opt/none 2>&1 || :'),
        "ls: cannot access '/opt/none': No such file or directory"
      )
    })

    await t.test('no link leads out of the machine, or into it', async (t) => {
      const before = await client.output('sh', '-c', 'wc -l </proc/self/mountinfo; ls /mnt')
      t.match(await bind('plain', '/run/src', '/mnt/top/mnt/dir'), done)
      t.match(await bind('--mkdir', 'plain', '/run/src', '/mnt/out/made'), done)
      t.equal(await inside('plain', 'cat /mnt/dir/file /mnt/made/file'), 'first\nfirst')
      t.match((await bind('plain', '/run/src', '/mnt/magic/dir')).stderr, /Too many levels of symbolic links$/)
      const source = `/proc/${await client.leader('plain')}/root/etc`
      t.match((await bind('plain', source, '/mnt/dir')).stderr, /Too many levels of symbolic links$/)

      const swapping = host.spawn(
        await enter(
          'plain',
          'cd /mnt; ln -s ../../../mnt away; while :; do mv -T swap x; mv -T away swap; mv -T swap away; mv -T x swap; done'
        )
      )
      for (let turn = 0; turn < 10; turn++) await bind('--mkdir', 'plain', '/run/src', '/mnt/swap/deep/er')
      swapping.kill()
      t.equal(
        await client.output('sh', '-c', 'wc -l </proc/self/mountinfo; ls /mnt'),
        before,
        'nothing changed on the host'
      )
    })

    if (systemd < 262) return
    await t.test('errors are those of the stock daemon', async (t) => {
      const replies = async (): Promise<Record<string, string>> => {
        const seen: Record<string, string> = {}
        for (const call of CALLS)
          seen[call.join(' ')] = (await client.call('BindMountMachine', 'sssbb', ...call)).stderr
        return seen
      }
      await inside('plain', 'for path in /mnt/*; do while umount $path 2>/dev/null; do :; done; done')
      const ours = await replies()
      await host.useStock()
      t.strictSame(ours, await replies())
      await host.useOurs()
      for (const [call, reply] of Object.entries(ours)) t.match(reply, /^Call failed: /, call)
    })
  })
}

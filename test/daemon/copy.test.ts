import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { TestHost } from '../host/host.ts'
import { projectDirectory } from '../host/root.ts'
import { Client, ROOTS } from './client.ts'

/** Makes a tree of all that there is in file systems, at `$1`. */
const MAKE_TREE = `
mkdir -p "$1/deep/er/still" "$1/shut" "$1/empty"
cd "$1"
echo text >plain; : >nothing; head -c 700000 /dev/urandom >big; head -c 3000 /dev/urandom >deep/er/still/small
truncate -s 5000000 holes; echo x | dd of=holes bs=1 seek=3000000 conv=notrunc status=none
ln big deep/again; ln big deep/er/thrice; ln -s /etc/passwd away; ln -s nowhere dangling; ln -s ../plain deep/up
mkfifo pipe; mknod null c 1 3
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
python3 -c 'import os; open(b"odd \\xff\\n name", "w").write("odd")'
python3 -c 'import os; [os.setxattr(p, "user.note", b"kept") for p in ("plain", "deep")]'
python3 -c 'import os; [os.setxattr("plain", kind + ".note", b"lost") for kind in ("trusted", "security")]'
python3 -c '
import os, struct
acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in (
  (1, 6, 0xffffffff), (2, 4, 12), (4, 4, 0xffffffff), (16, 4, 0xffffffff), (32, 0, 0xffffffff)))
os.setxattr("nothing", "system.posix_acl_access", acl)
os.setxattr("empty", "system.posix_acl_default", acl)'
chown 12:34 plain; chown -h 56:78 away; chown 7:8 deep pipe
chmod 4755 plain; chmod 1777 deep; chmod 0 shut; chmod 2711 deep/er; chmod 640 pipe
find . -exec touch -h -d '2001-02-03 04:05:06.123456789' {} +
`

const CALLS: readonly (readonly string[])[] = [
  ['CopyToMachine', 'sss', 'plain', '/root/tree', '/root/merged'],
  ['CopyToMachine', 'sss', 'plain', '/root/tree/plain', '/etc'],
  ['CopyToMachine', 'sss', 'plain', '/root/tree/plain', '/etc/hostname'],
  ['CopyToMachine', 'sss', 'plain', '/root/tree', '/etc/hostname'],
  ['CopyToMachineWithFlags', 'ssst', 'plain', '/root/tree', '/etc/hostname', '1'],
  ['CopyToMachineWithFlags', 'ssst', 'plain', '/root/tree/plain', '/etc', '1'],
  ['CopyToMachineWithFlags', 'ssst', 'plain', '/root/tree/plain', '/etc/hostname', '2'],
  ['CopyToMachineWithFlags', 'ssst', 'plain', 'relative', '/etc', '2'],
  ['CopyToMachine', 'sss', 'plain', '/nowhere', '/root/x'],
  ['CopyToMachine', 'sss', 'plain', '/nowhere/file', '/root/x'],
  ['CopyToMachine', 'sss', 'plain', '/nowhere/file', '/nowhere/x'],
  ['CopyToMachine', 'sss', 'plain', '/root/tree', '/nowhere/x'],
  ['CopyToMachine', 'sss', 'plain', '/', '/root/x'],
  ['CopyToMachine', 'sss', 'plain', '/root/tree', '/'],
  ['CopyToMachine', 'sss', 'plain', '/root/./tree', '/x'],
  ['CopyToMachine', 'sss', 'plain', '/root//tree', '/x'],
  ['CopyToMachine', 'sss', 'plain', '/root/tree', '/x/..'],
  ['CopyToMachine', 'sss', 'plain', 'root/tree', ''],
  ['CopyToMachine', 'sss', '.host', '/root/tree', '/x'],
  ['CopyFromMachine', 'sss', 'plain', '/nowhere', '/root/x'],
  ['CopyFromMachine', 'sss', 'plain', '/etc/passwd', ''],
  ['CopyFromMachine', 'sss', 'plain', '/etc/passwd', '/nowhere/x'],
  ['CopyFromMachine', 'sss', 'none', '/etc/passwd', '/x'],
  ['CopyFromMachineWithFlags', 'ssst', 'plain', '/etc/passwd', '/x', '18446744073709551615']
]

/** All that people see of two containers, with exit statuses; `$0` tells the files of one daemon from those of the other. */
const LOOK_AROUND = `
  tell() { "$@" </dev/null 2>&1; echo "= $?"; }
  tell machinectl list
  for name in plain veiled none; do
    tell machinectl status "$name" --lines=0 | sed 's/ UTC; .* ago$//; /Unit:/q'
    tell getent hosts "$name"
    tell machinectl shell "$name" /bin/sh -c 'echo here; exit 3'
    tell systemd-run -q -M "$name" --collect --wait --pipe /bin/sh -c 'echo out; exit 3'
    tell machinectl copy-to "$name" /root/some "/root/some-$0"
    tell machinectl copy-to "$name" /root/some/file "/root/some-$0/file"
    tell machinectl copy-to --force "$name" /root/some/file "/root/some-$0/file"
    tell machinectl copy-to "$name" /root/nowhere /root/x
    tell machinectl copy-from "$name" "/root/some-$0" "/root/some-$name-$0"
    tell machinectl copy-from "$name" "/root/some-$0/file" "/root/some-$name-$0/file"
    tell machinectl copy-from --force "$name" "/root/some-$0/file" "/root/some-$name-$0/file"
  done
  tell machinectl shell .host /bin/sh -c 'echo here; exit 3'`

for (const { root, systemd } of ROOTS) {
  t.test(`copies, and what clients print, on systemd ${String(systemd)}`, async (t) => {
    const host = await TestHost.start({ root })
    t.teardown(() => host.stop())
    const client = new Client(host)
    await host.startContainer('plain')
    await host.startContainer('veiled', ['-U', '--network-veth'])
    await host.writeFile('/root/list.py', readFileSync(join(projectDirectory(), 'test/daemon/copy-tree.py'), 'utf8'))
    await host.run(['sh', '-euc', MAKE_TREE, 'sh', '/root/tree'])
    const list = (path: string): Promise<string> => client.output('python3', '/root/list.py', path)
    const source = await list('/root/tree')
    const inside = async (name: string, path: string): Promise<string> =>
      list(`/proc/${await client.leader(name)}/root${path}`)

    await host.run(['sh', '-c', 'mkdir /root/some; echo text >/root/some/file'])
    // The kernel first looks whether somebody else has it.
    const hasAll = async (): Promise<boolean> => /fe80::/.test(await client.output('machinectl', 'status', 'veiled'))
    await host.waitFor(hasAll, 'the address of the link')

    /** All that comes of copying with one of the daemons. */
    async function results(who: string): Promise<Record<string, unknown>> {
      const seen: Record<string, unknown> = {}
      for (const name of ['plain', 'veiled']) {
        seen[`to ${name}`] = (await client.call('CopyToMachine', 'sss', name, '/root/tree', `/root/${who}`)).stderr
        seen[`tree in ${name}`] = await inside(name, `/root/${who}`)
        const back = `/root/${who}-${name}`
        seen[`from ${name}`] = (await client.call('CopyFromMachine', 'sss', name, `/root/${who}`, back)).stderr
        seen[`tree from ${name}`] = await list(back)
        // Merged into what is there, of which some differs.
        await host.run([
          'sh',
          '-euc',
          'cd "$0"; echo changed >plain; rm away big; ln -s x dangling2; chmod 700 deep; touch -h -d @1 plain dangling2',
          back
        ])
        for (const flags of ['0', '1']) {
          const args = [name, `/root/${who}`, back, flags]
          seen[`merge ${flags} ${name}`] = (await client.call('CopyFromMachineWithFlags', 'ssst', ...args)).stderr
          seen[`merged ${flags} ${name}`] = (await list(back))
            .replace(/^\. .*\n/, '')
            .replace(/^(deep|deep\/er|deep\/er\/still) .*\n/gm, '')
        }
      }
      seen['around'] = await client.output('sh', '-c', LOOK_AROUND, who)
      // Texts differ from version to version; ours are those of the newest.
      for (const call of systemd < 262 ? [] : CALLS) {
        const [member = '', signature = '', ...args] = call
        seen[call.join(' ')] = (await client.call(member, signature, ...args)).stderr
      }
      return seen
    }

    await host.useStock()
    const stock = await results('stock')
    await host.useOurs()
    const ours = await results('ours')

    await t.test('trees and errors are those of the stock daemon', (t) => {
      for (const [what, value] of Object.entries(stock)) t.equal(ours[what], value, what)
      t.equal(ours['to plain'], '')
      t.match(source, /^plain 0o104755 12 34 /m)
      for (const kept of ['user.note', 'trusted.note', 'security.note', 'acl_access', 'acl_default'])
        t.match(source, kept)
      t.match(ours['tree in plain'], 'user.note')
      t.notMatch(ours['tree in plain'], /trusted\.note|security\.note|posix_acl/)
      t.equal(ours['from veiled'], '')
      t.match(ours['around'], /^veiled +container .* \d+(?:\.\d+){3}…$/m)
      t.match(ours['around'], /Address: [^]*^fd\S+ +veiled$/m)
      t.match(ours['around'], /^here\r?$[^]*^= 0$[^]*^out\n= 3$/m)
      t.match(ours['around'], 'Failed to copy: File exists\n= 1\n= 0\n')
      t.end()
    })
  })
}

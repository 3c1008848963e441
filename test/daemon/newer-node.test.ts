import t from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'
import { callOne } from './varlink-client.ts'

const UNIT = 'systemd-machined.service'
/** Where Debian's package has it; our own is elsewhere on this host. */
const NODE = '/usr/bin/node'

const host = await TestHost.start({ root: 'testing' })
t.teardown(() => host.stop())
const client = new Client(host)

t.test('the unit runs the daemon by the Node of Debian testing, too', async (t) => {
  const major = Number(/^v(\d+)/.exec(await client.output(NODE, '--version'))?.[1])
  t.ok(major > 20, `it is Node ${String(major)}`)
  const [, ...rest] = await client.daemonCommand()
  const command = `[Service]\nExecStart=\nExecStart=${[NODE, ...rest].join(' ')}\n`
  await host.writeFile(`/run/systemd/system/${UNIT}.d/node.conf`, command)
  await host.run(['systemctl', 'daemon-reload'])
  await host.run(['systemctl', 'restart', UNIT])
  const pid = await client.output('systemctl', 'show', '-P', 'MainPID', UNIT)
  t.equal(await client.output('readlink', `/proc/${pid}/exe`), NODE)
})

t.test('and all of its parts work by it', async (t) => {
  await host.startContainer('box', ['-U', '--network-veth'])
  t.match(
    await client.output('machinectl', 'list', '--no-legend'),
    /^box +container systemd-nspawn debian/,
    'namespaces'
  )
  t.match(await client.output('machinectl', 'shell', 'box', '/bin/echo', 'said', 'inside'), 'said inside', 'terminals')
  await host.run(['machinectl', 'copy-to', 'box', '/etc/hostname', '/root/copied'])
  await host.run(['machinectl', 'copy-from', 'box', '/root/copied', '/root/copied'])
  t.equal(await client.output('cat', '/root/copied'), 'machined-test', 'copies')
  await host.run(['sh', '-euc', 'mkdir /var/lib/machines/tree; echo text >/var/lib/machines/tree/file'])
  await host.run(['machinectl', 'clone', 'tree', 'copy'])
  t.match(await client.output('machinectl', 'list-images'), /^copy +directory/m, 'images')
  t.match(await callOne(host, 'io.systemd.Machine.List', { name: 'box' }), {
    parameters: { service: 'systemd-nspawn' }
  })
  await host.run(['machinectl', 'terminate', 'box'])
  await client.waitTillGone('box')
  // This one runs what the one before has compiled.
  await host.run(['systemctl', 'restart', UNIT])
  t.match(await client.output('machinectl', 'image-status', 'copy'), 'Type: directory')
  t.equal(await client.output('systemctl', 'show', '-P', 'NRestarts', UNIT), '0')
  const log = await client.output('journalctl', '-u', UNIT, '-o', 'cat', '--no-pager')
  t.notMatch(log, /because of a bug|Warning|Fatal/)
})

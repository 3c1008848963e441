import t from 'tap'
import { TestHost } from '../host/host.ts'
import { User } from './user-client.ts'

const PATH = '/org/freedesktop/machine1'

// Systemd 257 has no user instance of its own: all that starts ours there is what `make install` puts in.
const host = await TestHost.start()
t.teardown(() => host.stop())
const alice = await User.create(host, 'alice')
const bob = await User.create(host, 'bob')

t.test('a call on the bus of a user starts the daemon', async (t) => {
  await alice.keepDaemonUnit()
  t.equal(await alice.daemon('ActiveState'), 'inactive')
  const leader = await alice.startProcess('box')
  t.equal((await alice.register('box', leader)).stdout, `o "${PATH}/machine/box"`)
  t.match(await host.readFile(`/proc/${await alice.daemon('MainPID')}/status`), `\nUid:\t${alice.uid}\t`)
  t.equal(await alice.property('box', 'Unit'), 's "box.service"')
  const timestamp = await alice.property('box', 'Timestamp')
  await alice.output('systemctl', '--user', 'restart', 'systemd-machined.service')
  t.equal(await alice.property('box', 'Timestamp'), timestamp, 'it knows its machines again')
  t.notMatch((await host.run(['machinectl', 'list'])).stdout, 'box', 'the daemon of the system knows nothing of it')
  t.match(JSON.parse((await alice.varlink('List', { name: 'box' })).stdout), {
    unit: 'box.service',
    leader: { pid: Number(leader) },
    UID: Number(alice.uid)
  })
  await alice.output('systemctl', '--user', 'stop', 'box.service')
  await alice.waitTillGone('box')
})

t.test('so does a call on the socket of a user, and the machine gets a scope', async (t) => {
  await bob.keepDaemonUnit()
  t.equal(await bob.daemon('ActiveState'), 'inactive')
  const leader = Number(await bob.startProcess('own'))
  const machine = { name: 'own', class: 'container', leader, allocateUnit: true }
  t.equal((await bob.varlink('Register', machine)).stderr, '')
  t.equal(await bob.daemon('ActiveState'), 'active')
  t.match(
    await host.readFile(`/proc/${String(leader)}/cgroup`),
    `user@${bob.uid}.service/machine.slice/machine-own.scope`
  )
  t.match((await alice.varlink('List', { name: 'own' })).stderr, 'NoSuchMachine', 'which is for him alone')
  t.equal((await bob.call('TerminateMachine', 's', 'own')).stderr, '')
  await bob.waitTillGone('own')
})

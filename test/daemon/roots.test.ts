import t from 'tap'
import { TestHost } from '../host/host.ts'
import { Client, ROOTS } from './client.ts'

const UNIT = 'systemd-nspawn@guest.service'
const IMAGE_SOCKET = '/run/systemd/machine/io.systemd.MachineImage'
// Quiet about what it does not need: shifting the users of a whole tree takes longer than all else here.
const SETTINGS = '[Exec]\nPrivateUsers=no\nNotifyReady=yes\n'

/** Starts the container as `machinectl start` would, from the template unit that systemd ships. */
async function startFromTemplate(host: TestHost): Promise<void> {
  await host.writeFile('/etc/systemd/nspawn/guest.nspawn', SETTINGS)
  const mount = `
    mkdir -p /var/lib/machines/guest /run/guest/upper /run/guest/work
    mountpoint -q /var/lib/machines/guest || mount -t overlay \
      -o lowerdir=/run/test-host/guest,upperdir=/run/guest/upper,workdir=/run/guest/work guest /var/lib/machines/guest`
  await host.run(['sh', '-euc', mount])
  await host.run(['systemctl', 'start', UNIT])
}

// What depends on the version of systemd that hosts us: template units, and the stock daemon that we take turns with.
for (const { root, systemd } of ROOTS) {
  t.test(`template units and live replacement on systemd ${String(systemd)}`, async (t) => {
    const host = await TestHost.start({ root })
    t.teardown(() => host.stop())
    const client = new Client(host)
    // nspawn gets a subgroup for itself from 258 on, and its payload another: the unit is shared by the two.
    const subgroup = systemd < 258 ? '' : 'payload'
    const link = `unit:${UNIT}`

    await host.startContainer('scoped', ['-U'])
    await startFromTemplate(host)

    await t.test('a container of the template is registered with its unit', async (t) => {
      t.match(await client.output('machinectl', 'list', '--no-legend'), /^guest +container +systemd-nspawn/m)
      t.equal(await client.property('guest', 'Unit'), `s "${UNIT}"`)
      t.equal(await client.property('guest', 'Subgroup'), `s "${subgroup}"`)
      t.equal((await client.stateFiles()).includes(link), subgroup === '', 'a shared unit does not lead to one machine')
      t.equal(
        (await client.output('ps', '-o', 'machine=', '-p', await client.leader('guest'))).trim(),
        // libsystemd finds a machine by the link of its unit.
        subgroup === '' ? 'guest' : '-'
      )
      t.equal(await client.output('systemctl', '-M', 'guest', 'is-active', 'dbus.service'), 'active')
      t.match(await client.output('systemd-cgls', '-M', 'guest'), /─payload/)
      t.match(await client.output('machinectl', 'status', 'guest'), /Iface: ve-guest\n[^]*─init\.scope/)
    })

    await t.test('a restart of the daemon forgets nothing of it', async (t) => {
      const before = await client.identity('guest')
      await host.run(['systemctl', 'restart', 'systemd-machined.service'])
      t.equal(await client.identity('guest'), before)
      t.equal(await client.property('guest', 'Subgroup'), `s "${subgroup}"`)
      t.equal((await client.stateFiles()).includes(link), subgroup === '')
    })

    await t.test('machines stay while ours, stock, ours and stock take turns', async (t) => {
      const names = ['guest', 'scoped']
      const before = await Promise.all(names.map((name) => client.identity(name)))
      const same = async (now: string): Promise<void> => {
        t.same(await Promise.all(names.map((name) => client.identity(name))), before, now)
      }
      await host.useStock()
      await same('stock')
      await host.startContainer('late')
      names.push('late')
      before.push(await client.identity('late'))
      await host.useOurs()
      await same('ours, with one that the stock daemon registered')
      t.equal(await client.show('late', 'State'), 'State=running')
      await host.useStock()
      await same('stock again')
      await host.run(['machinectl', 'terminate', 'late'])
      await client.waitTillGone('late')
      await host.useOurs()
      names.pop()
      before.pop()
      await same('ours again, without the one that ended meanwhile')
      t.notMatch(await client.stateFiles(), /late/)
      // The stock daemon of 257 leaves sockets behind where we have links. (252 has neither those nor varlinkctl.)
      if (systemd >= 257) {
        const call = ['varlinkctl', 'call', IMAGE_SOCKET, 'io.systemd.MachineImage.List', '{"name":".host"}']
        t.match(await client.output(...call), '"path":"/"')
      }
    })

    await t.test('terminating it stops the unit, or asks the supervisor to end', async (t) => {
      await host.run(['systemctl', 'restart', UNIT])
      const cursor = await client.output('journalctl', '-n0', '--show-cursor', '-q')
      t.equal((await client.call('TerminateMachine', 's', 'guest')).stderr, '')
      await client.waitTillGone('guest')
      const ended = ['inactive', 'failed']
      await host.waitFor(
        async () => ended.includes(await client.output('systemctl', 'show', '-P', 'ActiveState', UNIT)),
        'the unit to end'
      )
      t.equal(await client.output('systemctl', 'show', '-P', 'Result', UNIT), 'success', 'the guest shut down in order')
      const log = await client.output(
        ...['journalctl', '-u', UNIT, '-o', 'cat', `--after-cursor=${cursor.replace('-- cursor: ', '')}`]
      )
      // Only PID 1 says this, and only when a stop job is run.
      t.equal(/^Stopping Container guest|^Stopping systemd-nspawn@guest/m.test(log), subgroup === '')
      t.notMatch(await client.stateFiles(), /guest/)
    })

    // Last, as an nspawn that was killed leaves a mount behind which keeps the next one from starting.
    await t.test('killing all of it spares the supervisor only where it is apart', async (t) => {
      await host.run(['systemctl', 'start', UNIT])
      t.equal((await client.call('KillMachine', 'ssi', 'guest', 'all', '9')).stderr, '')
      await client.waitTillGone('guest')
      await host.waitFor(
        async () => (await client.output('systemctl', 'show', '-P', 'ActiveState', UNIT)) !== 'deactivating',
        'the unit to end'
      )
      // CLD_EXITED or CLD_KILLED: how nspawn itself ended.
      const code = subgroup === '' ? '2' : '1'
      t.equal(await client.output('systemctl', 'show', '-P', 'ExecMainCode', UNIT), code)
    })
  })
}

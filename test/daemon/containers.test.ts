import t from 'tap'
import { TestHost } from '../host/host.ts'
import { Client, ROOTS } from './client.ts'

// Real containers of the stock systemd-nspawn, seen through the stock clients of three versions of systemd.
for (const { root, systemd } of ROOTS) {
  t.test(`containers on systemd ${String(systemd)}`, async (t) => {
    const host = await TestHost.start({ root })
    t.teardown(() => host.stop())
    const client = new Client(host)
    const scope = (name: string): string => (systemd < 258 ? `machine-${name}.scope` : `${name}.scope`)

    await host.startContainer('plain')
    await host.startContainer('veiled', ['-U', '--network-veth'])

    await t.test('machinectl lists and shows them', async (t) => {
      const list = await client.output('machinectl', 'list', '--no-legend')
      t.match(list, /^plain +container +systemd-nspawn/m)
      t.match(list, /^veiled +container +systemd-nspawn/m)
      for (const name of ['plain', 'veiled']) {
        const shown = await client.show(name)
        t.match(shown, `\nService=systemd-nspawn\nUnit=${scope(name)}\n`)
        t.match(shown, new RegExp(`^Class=container\nRootDirectory=/var/lib/machines/${name}$`, 'm'))
        t.match(shown, /^State=running$/m)
        t.match(shown, /^Id=(?!0{32})[0-9a-f]{32}$/m)
        const status = await client.output('machinectl', 'status', name)
        t.match(status, new RegExp(`Unit: ${scope(name)}\n[^]*─payload`))
        t.match(status, `Leader: ${await client.leader(name)} (systemd)`)
      }
    })

    await t.test('a scope gets what its creator asks for, also where PID 1 takes no pidfds', async (t) => {
      await host.run(['systemd-run', '-q', '--unit=creator', 'sleep', 'infinity'])
      const leader = (await client.output('systemctl', 'show', '--value', '-p', 'MainPID', 'creator.service')).trim()
      const args = ['asked', '0', 'test', 'vm', leader, '', '1', 'TasksMax', 't', '77']
      t.equal((await client.call('CreateMachine', 'sayssusa(sv)', ...args)).stderr, '')
      t.match(await client.output('systemctl', 'show', '-p', 'TasksMax', 'machine-asked.scope'), 'TasksMax=77')
      await client.call('TerminateMachine', 's', 'asked')
      await host.waitFor(async () => (await client.call('GetMachine', 's', 'asked')).exitCode !== 0, 'it to be gone')
    })

    await t.test('a private network is known', async (t) => {
      const index = (await client.output('cat', '/sys/class/net/ve-veiled/ifindex')).trim()
      t.equal(await client.property('veiled', 'NetworkInterfaces'), `ai 1 ${index}`)
      t.match(await client.output('machinectl', 'status', 'veiled'), 'Iface: ve-veiled')
      t.equal(await client.property('plain', 'NetworkInterfaces'), 'ai 0')
    })

    await t.test('users of a container with its own users are mapped, there and back', async (t) => {
      const uid = (await client.output('ps', '-o', 'uid=', '-p', await client.leader('veiled'))).trim()
      t.ok(Number(uid) >= 65536, `its root is user ${uid} of the host`)
      t.equal((await client.call('MapFromMachineUser', 'su', 'veiled', '7')).stdout, `u ${String(Number(uid) + 7)}`)
      const back = await client.call('MapToMachineUser', 'u', String(Number(uid) + 7))
      t.equal(back.stdout, 'sou "veiled" "/org/freedesktop/machine1/machine/veiled" 7')
    })

    await t.test('readers of the state files know them', async (t) => {
      const leader = await client.leader('plain')
      t.equal((await client.output('ps', '-o', 'machine=', '-p', leader)).trim(), 'plain')
      t.match(
        await client.output('systemctl', 'list-machines', '--no-legend'),
        /^ *plain +running[^]*^ *veiled +running/m
      )
      t.match(await client.output('systemd-cgls', '-M', 'veiled'), `/machine.slice/${scope('veiled')}:`)
      for (const name of ['plain', 'veiled']) {
        t.match(await client.output('systemctl', '-M', name, 'is-active', 'dbus.service'), 'active')
        t.match(await client.output('loginctl', '-M', name, 'list-sessions'), /No sessions\./)
        await client.output('systemd-run', '-M', name, '-q', '--wait', 'true')
        const journal = await client.output('journalctl', '-M', name, '-q', '--no-pager')
        t.match(journal, /Reached target .*Basic System/)
        t.notMatch(journal, ' machined-test ', 'it is not the journal of the host')
      }
    })

    await t.test('a process of a container leads to it, one of the host does not', async (t) => {
      const path = '/org/freedesktop/machine1/machine/veiled'
      const child = await client.output('pgrep', '-f', '-P', await client.leader('veiled'), 'systemd-journald')
      t.equal((await client.call('GetMachineByPID', 'u', child)).stdout, `o "${path}"`)
      t.match((await client.call('GetMachineByPID', 'u', '1')).stderr, 'PID 1 does not belong to any known machine')
    })

    await t.test('reloading and re-executing PID 1 loses none', async (t) => {
      const before = await client.identity('veiled')
      await host.run(['systemctl', 'daemon-reload'])
      await host.run(['systemctl', 'daemon-reexec'])
      t.equal(await client.identity('veiled'), before)
      t.equal(await client.show('plain', 'State'), 'State=running')
    })

    await t.test('powering off ends a container in order', async (t) => {
      await host.run(['machinectl', 'poweroff', 'plain'])
      await client.waitTillGone('plain')
      const log = await client.output('journalctl', '-u', 'test-container-plain', '-o', 'cat')
      t.match(log, /Powering off\./, 'it shut down by itself')
      t.notMatch(await client.stateFiles(), /plain/)
    })

    await t.test('a kill of the leader ends the machine', async (t) => {
      await host.startContainer('killed')
      await host.run(['machinectl', 'kill', 'killed', '--kill-whom=leader', '--signal=SIGKILL'])
      await client.waitTillGone('killed')
      t.notMatch(await client.stateFiles(), /killed/)
    })

    await t.test('terminating stops the scope and leaves no file', async (t) => {
      await host.run(['machinectl', 'terminate', 'veiled'])
      await client.waitTillGone('veiled')
      t.equal(await client.stateFiles(), '')
      t.not((await host.run(['systemctl', 'is-active', scope('veiled')], { reject: false })).exitCode, 0)
    })
  })
}

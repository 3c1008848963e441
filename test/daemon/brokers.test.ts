import t from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'

const MANAGER = 'org.freedesktop.machine1.Manager'

// dbus-daemon serves the bus in all other tests; dbus-broker answers the same questions in its own way.
const host = await TestHost.start({ root: 'testing', broker: 'dbus-broker' })
t.teardown(() => host.stop())
const client = new Client(host)

/** A method call of the user `nobody` by dbus-send, which shows the names of errors. */
async function asNobody(member: string, ...args: string[]): Promise<string> {
  const to = ['--system', '--print-reply=literal', '--dest=org.freedesktop.machine1', '/org/freedesktop/machine1']
  const { stdout, stderr } = await host.run(['dbus-send', ...to, `${MANAGER}.${member}`, ...args], {
    user: 'nobody',
    reject: false
  })
  return stdout + stderr
}

t.test('the bus is dbus-broker, and starts the daemon on demand', async (t) => {
  t.match(await client.output('systemctl', 'show', '-P', 'Id', 'dbus.service'), 'dbus-broker.service')
  await host.run(['systemctl', 'stop', 'systemd-machined.service'])
  t.match((await client.call('ListMachines')).stdout, /^a\(ssso\) 1 "\.host" "host"/)
})

t.test('a container is registered, listed, and ended', async (t) => {
  await host.startContainer('c1')
  t.match(await client.output('machinectl', 'list', '--no-legend'), /^c1 +container +systemd-nspawn/)
  t.equal((await client.call('TerminateMachine', 's', 'c1')).exitCode, 0)
  await client.waitTillGone('c1')
  t.equal(await client.stateFiles(), '')
})

t.test('a caller is known by the pidfd that the broker hands out', async (t) => {
  // The shell is the leader, and busctl, which registers it, the supervisor.
  const script = `busctl call org.freedesktop.machine1 /org/freedesktop/machine1 ${MANAGER} \
    RegisterMachine sayssus parent 0 test container $$ / && exec sleep infinity`
  await host.run(['systemd-run', '-q', '--collect', '--unit=parent', '--expand-environment=no', 'sh', '-c', script])
  await host.waitFor(async () => (await client.call('GetMachine', 's', 'parent')).exitCode === 0, 'the machine')
  const pid = await client.output('systemctl', 'show', '-P', 'MainPID', 'parent.service')
  t.equal(await client.property('parent', 'Leader'), `u ${pid}`)
  t.match(await client.property('parent', 'SupervisorPIDFDId'), /^t [1-9]\d*$/, 'busctl, which is gone by now')
  t.equal((await client.call('UnregisterMachine', 's', 'parent')).exitCode, 0)
})

t.test('polkit is asked about others than root', async (t) => {
  await client.register('guarded', await client.startProcess('guarded'))
  t.match(await asNobody('ListMachines'), /guarded/)
  for (const member of ['TerminateMachine', 'UnregisterMachine']) {
    t.match(await asNobody(member, 'string:guarded'), /AccessDenied|InteractiveAuthorizationRequired/)
  }
  t.match(await asNobody('KillMachine', 'string:guarded', 'string:all', 'int32:9'), /AccessDenied|Interactive/)
  t.equal(await client.show('guarded', 'State'), 'State=running')
})

t.test('losing the bus ends the daemon, and a new one knows the machines', async (t) => {
  const pid = await client.output('systemctl', 'show', '-P', 'MainPID', 'systemd-machined.service')
  await host.run(['systemctl', 'kill', '--kill-whom=all', '--signal=KILL', 'dbus.service'])
  const isBack = async (): Promise<boolean> => {
    const now = await host.run(['systemctl', 'show', '-P', 'MainPID', 'systemd-machined.service'], { reject: false })
    return now.exitCode === 0 && now.stdout !== pid && (await client.call('GetMachine', 's', 'guarded')).exitCode === 0
  }
  await host.waitFor(isBack, 'the machine to be known again')
  t.equal(await client.show('guarded', 'State'), 'State=running')
})

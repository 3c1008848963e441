import t from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'
import { User } from './user-client.ts'
import { callOne, MACHINE_SOCKET } from './varlink-client.ts'

const skip = process.arch === 'x64' ? false : 'the packages of the host are for x86'
/** Firmware alone: it says that there is nothing to boot, and waits. No KVM, as test hosts may have none. */
const OPTIONS = [
  ...['--kvm=no', '--vsock=no', '--tpm=no', '--firmware=bios', '--ram=64M', '--console=headless'],
  ...['--pass-ssh-key=no', '--register=yes']
]

/** The command that runs a virtual machine on a disk of its own. */
function vmspawn(name: string, disk: string): string[] {
  return ['systemd-vmspawn', ...OPTIONS, `--image=${disk}`, '-M', name]
}

t.test('virtual machines of systemd-vmspawn', { skip }, async (t) => {
  const host = await TestHost.start({ root: 'testing' })
  t.teardown(() => host.stop())
  const client = new Client(host)
  const makeDisk = (path: string) => host.run(['truncate', '-s', '1M', path])
  const isKnown = async (name: string): Promise<boolean> => (await client.call('GetMachine', 's', name)).exitCode === 0
  const start = async (name: string, ...options: string[]): Promise<void> => {
    await makeDisk(`/root/${name}.raw`)
    const command = [...vmspawn(name, `/root/${name}.raw`), ...options]
    await host.run(['systemd-run', '-q', '--collect', `--unit=${name}`, ...command])
    await host.waitFor(() => isKnown(name), `${name} to be registered`)
  }
  const describe = async (name: string): Promise<unknown> => {
    const socket = `/run/systemd/vmspawn/${name}/control`
    return JSON.parse(await client.output('varlinkctl', 'call', socket, 'io.systemd.MachineInstance.Describe', '{}'))
  }

  await t.test('are registered with a scope, and controlled by what they have registered', async (t) => {
    await start('virtual')
    t.match(await client.output('machinectl', 'list', '--no-legend'), /^virtual +vm +systemd-vmspawn/)
    const { parameters } = await callOne(host, 'io.systemd.Machine.List', { name: 'virtual' })
    t.match(parameters, {
      unit: 'machine-virtual.scope',
      controlAddress: '/run/systemd/vmspawn/virtual/control',
      supervisor: { pid: Number(await client.output('systemctl', 'show', '-P', 'MainPID', 'virtual.service')) }
    })
    t.match(await host.readFile(`/proc/${await client.leader('virtual')}/comm`), 'qemu')
    for (const [verb, status] of [['pause', 'paused'] as const, ['resume', 'running'] as const]) {
      await host.run(['machinectl', verb, 'virtual'])
      await host.waitFor(async () => ((await describe('virtual')) as { status: string }).status === status, status)
    }
    for (const verb of ['reboot', 'poweroff']) await host.run(['machinectl', verb, 'virtual'])
    t.ok(await isKnown('virtual'), 'which are for the guest to follow, and there is none')
    await host.run(['systemctl', 'restart', 'systemd-machined'])
    await host.run(['machinectl', 'terminate', 'virtual'])
    await client.waitTillGone('virtual')
    t.equal(await client.stateFiles(), '')
  })

  await t.test('are unregistered when they end', async () => {
    await start('brief', '--keep-unit')
    t.equal(await client.property('brief', 'Unit'), 's "brief.service"')
    await host.run(['systemctl', 'stop', 'brief'])
    await client.waitTillGone('brief')
  })

  await t.test('are refused when the name is taken', async (t) => {
    await start('taken')
    const identity = await client.identity('taken')
    await makeDisk('/root/other.raw')
    // It has to be in a unit.
    const run = ['systemd-run', '-q', '--pipe', '--wait', ...vmspawn('taken', '/root/other.raw')]
    const { exitCode, stderr } = await host.run(run, { reject: false })
    t.not(exitCode, 0)
    t.match(stderr, 'Failed to register machine in system context')
    t.equal(await client.identity('taken'), identity)
    await client.call('TerminateMachine', 's', 'taken')
    await client.waitTillGone('taken')
  })

  await t.test('are registered over D-Bus where there is no socket', async (t) => {
    await host.run(['systemctl', 'stop', 'systemd-machined.socket'])
    await host.run(['rm', '-f', MACHINE_SOCKET])
    await start('bus')
    t.equal(await client.property('bus', 'Unit'), 's "bus.service"')
    await host.run(['systemctl', 'stop', 'bus'])
    await client.waitTillGone('bus')
    await host.run(['systemctl', 'stop', 'systemd-machined.service'])
    await host.run(['systemctl', 'start', 'systemd-machined.socket', 'systemd-machined.service'])
  })

  await t.test("of a user are registered with the user's daemon and with the system's", async (t) => {
    const alice = await User.create(host, 'alice')
    const rule = `polkit.addRule(function (action, subject) {
      if (subject.user == "alice" && action.id == "org.freedesktop.machine1.register-machine") return polkit.Result.YES
    })`
    await host.writeFile('/etc/polkit-1/rules.d/10-test.rules', rule)
    await alice.output('truncate', '-s', '1M', `${alice.home}/own.raw`)
    const command = vmspawn('own', `${alice.home}/own.raw`)
    const startOwn = ['systemd-run', '--user', '-q', '--collect', '--unit=own', ...command]
    await host.waitFor(async () => {
      // Until polkit has read the rule.
      await alice.try(...startOwn)
      return isKnown('own')
    }, 'the system to know it')
    await host.waitFor(async () => (await alice.call('GetMachine', 's', 'own')).exitCode === 0, 'the user to know it')
    t.equal(await alice.property('own', 'Unit'), 's "machine-own.scope"')
    t.match(await client.show('own', 'UID', 'Subgroup'), `UID=${alice.uid}`)
    await alice.output('machinectl', '--user', 'terminate', 'own')
    await alice.waitTillGone('own')
    await client.waitTillGone('own')
  })

  t.notMatch(await client.output('journalctl', '-u', 'systemd-machined', '-o', 'cat', '--no-pager'), 'because of a bug')
})

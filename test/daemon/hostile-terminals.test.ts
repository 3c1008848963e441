import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { TestHost, type RunResult } from '../host/host.ts'
import { projectDirectory } from '../host/root.ts'
import { Client } from './client.ts'
import { daemonPid } from './stress.ts'

const PTMX = '/dev/ptmx'
const NO_DEVICE = /No such device$/
/** What the root of a container can put in the place of the multiplexer, and what then is said. */
const IMPOSTORS: Readonly<Record<string, readonly [make: string, error: RegExp]>> = {
  'a file': ['echo text >$0', NO_DEVICE],
  'a FIFO': ['mkfifo $0', NO_DEVICE],
  'a directory': ['mkdir $0', NO_DEVICE],
  'another device': ['mknod $0 c 1 7', NO_DEVICE],
  'a link to another device': ['ln -s full $0', NO_DEVICE],
  'a link out of the container': ['ln -s ../../../../../../dev/full $0', NO_DEVICE],
  'a link through a process': ['ln -s /proc/1/root/dev/ptmx $0', /Too many levels of symbolic links$/],
  'a link to itself': ['ln -s ptmx $0', /Too many levels of symbolic links$/],
  nothing: ['true', /No such file or directory$/]
}

/** What a bus can do to us, and what then is said; each quickly, but for those that wait. */
const BUSES: Readonly<Record<string, RegExp>> = {
  garbage: /Failed to connect to the system bus in container plain: /,
  'endless line': /The bus sends no answer to authentication$/,
  stranger: /The bus refuses to authenticate us$/,
  'no descriptors': /The bus passes no file descriptors$/,
  'huge message': /message is too long$/,
  flood: /The bus sends too much$/,
  descriptors: /too many descriptors|sends too much|without it/,
  'hang-up': /The bus closed the connection$|Broken pipe|Connection reset by peer/,
  wordless: /^Call failed: /,
  silent: /Failed to connect to the system bus in container plain: Connection timed out$/,
  mute: /StartTransientUnit timed out$/
}

const host = await TestHost.start({ root: 'testing' })
t.teardown(() => host.stop())
const client = new Client(host)
await host.writeFile('/root/fake-bus.py', readFileSync(join(projectDirectory(), 'test/daemon/fake-bus.py'), 'utf8'))
await host.startContainer('plain')
await host.startContainer('veiled', ['-U'])
const leader = await client.leader('plain')
const inside = ['nsenter', '--mount', '--root', '--target', leader, 'sh', '-euc']

const openPTY = (name: string): Promise<RunResult> => client.call('OpenMachinePTY', 's', name)
const openShell = (name: string, program = '/bin/true'): Promise<RunResult> =>
  client.call('OpenMachineShell', 'sssasas', name, '', program, '0', '0')

/** How many descriptors the daemon has open, but for those that come with a thread, of which there may be one more. */
async function openDescriptors(): Promise<number> {
  const links = await client.output('sh', '-c', 'readlink /proc/$0/fd/*', String(await daemonPid(host)))
  return links.split('\n').filter((link) => !/^(anon_inode:\[event|mnt:|pipe:|\/$)/.test(link)).length
}

// The first thread brings what stays: the daemon's own stderr, for which libuv opens /dev/null.
await openPTY('plain')

/** Runs `work`, then waits till the daemon, which must be the same, has as few descriptors as before. */
async function leavesNone(t: Pick<Test, 'equal'>, work: () => Promise<void>): Promise<void> {
  const [pid, before] = [await daemonPid(host), await openDescriptors()]
  await work()
  await host.waitFor(async () => (await openDescriptors()) <= before, 'descriptors to be closed')
  t.equal(await daemonPid(host), pid)
}

t.test('nothing but a multiplexer is taken for one', (t) =>
  leavesNone(t, async () => {
    for (const [what, [make, error]] of Object.entries(IMPOSTORS)) {
      await host.run([...inside, `rm -rf $0; ${make}`, PTMX])
      const { stderr } = await openPTY('plain')
      t.match(stderr, error, what)
    }
    // A device of the same kind beside devpts, as older containers have it.
    for (const make of ['mknod -m 666 $0 c 5 2', 'ln -s pts/ptmx $0']) {
      await host.run([...inside, `rm -rf $0; ${make}`, PTMX])
      t.match((await openPTY('plain')).stdout, /^hs \d+ "\/dev\/pts\/\d+"$/)
    }
  })
)

t.test('whatever the bus of a container does, its caller learns it, and others are served', async (t) => {
  const folder = `/proc/${leader}/root/run/dbus`
  await host.run(['mv', `${folder}/system_bus_socket`, `${folder}/real`])
  t.match((await openShell('plain')).stderr, /There is no system bus in container plain\.$/)
  for (const [make, error] of [
    ['mkdir $0', 'Connection refused'],
    ['mkfifo $0', 'Connection refused'],
    ['ln -s real $0; mv $(dirname $0)/real $(dirname $0)/gone', 'There is no system bus in container plain\\.']
  ] as const) {
    await host.run([...inside, `rm -rf $0; ${make}`, '/run/dbus/system_bus_socket'])
    t.match((await openShell('plain')).stderr, new RegExp(`${error}$`), make)
  }
  await host.run([...inside, 'cd /run/dbus; mv gone real; rm system_bus_socket'])
  for (const [mode, error] of Object.entries(BUSES)) {
    await t.test(mode, (t) =>
      leavesNone(t, async () => {
        const bus = host.spawn(['python3', '/root/fake-bus.py', `${folder}/system_bus_socket`, mode])
        await once(bus.stdout, 'data')
        let isOver = false
        const call = openShell('plain').finally(() => (isOver = true))
        if (mode === 'silent' || mode === 'mute') {
          t.equal((await openShell('veiled')).stderr, '', 'another container')
          t.notOk(isOver, 'and that at once')
        }
        const { stderr, exitCode } = await call
        t.match(stderr, error)
        t.not(exitCode, 0)
        bus.kill()
        await once(bus, 'close')
        await host.run(['rm', `${folder}/system_bus_socket`])
      })
    )
  }
  await host.run(['mv', `${folder}/real`, `${folder}/system_bus_socket`])
  t.equal((await openShell('plain')).stderr, '', 'the real one')
})

t.test('a container whose bus is dbus-broker', async (t) => {
  // The host's own root, which has one.
  const mount = `
    mkdir -p /var/lib/machines/brokered /run/brokered/upper /run/brokered/work
    mount -t overlay -o lowerdir=/,upperdir=/run/brokered/upper,workdir=/run/brokered/work brokered /var/lib/machines/brokered
    cd /var/lib/machines/brokered
    ln -sfn /usr/lib/systemd/system/dbus-broker.service etc/systemd/system/dbus.service
    rm etc/machine-id`
  await host.run(['sh', '-euc', mount])
  for (const args of [[], ['-U']]) {
    await host.startContainer('brokered', args)
    t.equal(
      await client.output('systemctl', '-M', 'brokered', 'show', '-P', 'Id', 'dbus.service'),
      'dbus-broker.service'
    )
    for (const member of ['OpenMachineLogin', 'OpenMachinePTY']) {
      t.match(await client.call(member, 's', 'brokered'), { stderr: '', stdout: /^hs \d+ "\/dev\/pts\/\d+"$/ })
    }
    t.match(await openShell('brokered', '/bin/true'), { stderr: '', stdout: /^hs / })
    await host.run(['machinectl', 'terminate', 'brokered'])
    await client.waitTillGone('brokered')
  }
})

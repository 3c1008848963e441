import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { pipeline } from 'node:stream/promises'
import { execa } from 'execa'
import t, { type Test } from 'tap'
import { TestHost } from '../host/host.ts'
import { projectDirectory } from '../host/root.ts'
import { Client } from './client.ts'

const UNIT = 'systemd-machined.service'
const SOURCE = '/root/machined'
const TERMINATE = ['org.freedesktop.machine1.Machine', 'Terminate']
// What a built checkout has of that which installing needs; the rest of node_modules is only for building.
const NEEDED = [
  'Makefile',
  'package.json',
  'package-lock.json',
  'tsconfig.json',
  'tsconfig.build.json',
  'daemon',
  'cli'
]
const BUILT = [
  'units',
  'dbus-policy',
  'scripts',
  'dist/.daemon',
  'dist/bundle',
  'node_modules/koffi',
  'node_modules/netlink',
  'node_modules/node-gyp-build'
]

/** Puts this project, as built, into the host. */
async function copyProject(host: TestHost): Promise<void> {
  const project = projectDirectory()
  await execa('make', ['-C', project, 'build'], { stdout: 'ignore' })
  await host.run(['mkdir', '-p', SOURCE])
  const pack = spawn('tar', ['-C', project, '-cf', '-', ...NEEDED, ...BUILT, 'node_modules/@koromix'])
  const unpack = host.spawn(['tar', '-C', SOURCE, '-xf', '-', '--no-same-owner'])
  const done = once(unpack, 'exit')
  await pipeline(pack.stdout, unpack.stdin)
  t.same(await done, [0, null], 'the project is in the host')
  // Built is built, even if somebody changed a source meanwhile: the host has no compiler.
  await host.run(['touch', `${SOURCE}/dist/.daemon`])
}

/** Names, types, modes, owners and contents of all that `make install` might touch. */
async function inventory(host: TestHost, ...more: string[]): Promise<string> {
  const find = `
    find /etc /usr "$@" -xdev ! -type d -printf '%p %y %m %U:%G %l\\n' | sort
    find /etc /usr -xdev -type f \\( -path '*machine*' -o -path '*systemd/system/*' -o -path '*polkit*' \\
      -o -path '*dbus-1*' \\) -exec sha256sum {} + | sort`
  return (await host.run(['sh', '-euc', find, 'sh', ...more])).stdout
}

async function make(host: TestHost, target: string): Promise<void> {
  await host.run(['make', '-C', SOURCE, target])
}

async function property(client: Client, name: string): Promise<string> {
  return client.output('systemctl', 'show', '-P', name, UNIT)
}

async function isOurs(client: Client): Promise<boolean> {
  return (await property(client, 'ExecStart')).includes('/usr/local/lib/machined/')
}

t.test('on a host with the stock daemon', async (t) => {
  const host = await TestHost.start({ machined: 'stock' })
  t.teardown(() => host.stop())
  const client = new Client(host)
  await copyProject(host)
  const before = await inventory(host, '/var/cache')
  await client.register('kept', await client.startProcess('kept'))
  const identity = await client.identity('kept')

  await t.test('install replaces it while machines run', async (t) => {
    await make(host, 'install')
    await host.run(['systemctl', 'restart', UNIT])
    t.ok(await isOurs(client))
    t.equal(await client.identity('kept'), identity)
    t.equal(await property(client, 'FragmentPath'), `/usr/local/lib/systemd/system/${UNIT}`)
    t.equal(await client.output('systemctl', 'show', '-P', 'Id', 'dbus-org.freedesktop.machine1.service'), UNIT)
  })

  await t.test('installing again changes nothing', async (t) => {
    const once = await inventory(host)
    await make(host, 'install')
    t.equal(await inventory(host), once)
  })

  await lifeCycle(t, host)

  await t.test('uninstall gives all back to the stock daemon', async (t) => {
    await make(host, 'uninstall')
    t.equal(await inventory(host, '/var/cache'), before)
    await host.run(['systemctl', 'restart', UNIT])
    t.notOk(await isOurs(client))
    t.equal(await client.identity('kept'), identity)
    t.not((await host.run(['make', '-C', SOURCE, 'uninstall'], { reject: false })).exitCode, 0, 'nothing is left to do')
  })
})

t.test('on a host without the package of the stock daemon', async (t) => {
  const host = await TestHost.start({ machined: 'stock' })
  t.teardown(() => host.stop())
  const client = new Client(host)
  await host.run(['dpkg', '--purge', '--force-depends', 'systemd-container', 'libnss-mymachines'])
  t.not((await host.run(['systemctl', 'cat', UNIT], { reject: false })).exitCode, 0)
  await copyProject(host)
  const before = await inventory(host, '/var/cache')

  await t.test('install puts all that is needed', async (t) => {
    await make(host, 'install')
    // Nothing was started: the bus does it.
    t.match((await client.call('ListMachines')).stdout, /^a\(ssso\) 1 "\.host"/)
    t.ok(await isOurs(client))
    t.equal(await client.output('systemctl', 'is-active', 'machine.slice'), 'active')
    t.equal((await client.register('m', await client.startProcess('m'))).stderr, '')
    t.match((await client.call('ListMachines')).stdout, /"m" "container" "test"/)
    const denied = await host.run(
      ['busctl', 'call', 'org.freedesktop.machine1', '/org/freedesktop/machine1/machine/m', ...TERMINATE],
      { user: 'nobody', reject: false }
    )
    t.match(denied.stderr, /authentication required|Access denied/i, 'the actions are known to polkit')
  })

  await t.test('uninstall leaves nothing behind', async (t) => {
    await host.run(['systemctl', 'stop', UNIT])
    await make(host, 'uninstall')
    t.equal(await inventory(host, '/var/cache'), before)
    t.not((await host.run(['systemctl', 'cat', UNIT], { reject: false })).exitCode, 0)
    t.match((await client.call('ListMachines')).stderr, /not provided|not activatable|unknown|not found/i)
  })
})

/** The installed daemon as PID 1 sees it. */
async function lifeCycle(t: Test, host: TestHost): Promise<void> {
  const client = new Client(host)

  await t.test('it is active, confined, and ready when its start returns', async (t) => {
    await host.run(['systemctl', 'restart', UNIT])
    t.equal(await client.output('systemctl', 'is-active', UNIT), 'active')
    t.equal(await property(client, 'StatusText'), 'Processing requests...')
    t.match(await client.output('busctl', '--no-pager', 'list'), /^org\.freedesktop\.machine1 +\d+/m)
    const status = await host.readFile(`/proc/${await property(client, 'MainPID')}/status`)
    t.match(status, /^NoNewPrivs:\t1$/m)
    t.match(status, /^Seccomp:\t2$/m)
    // The sixteen of the unit, as bits.
    t.match(status, /^CapBnd:\t00000000082c36ff$/m)
    t.match(status, /^CapEff:\t00000000082c36ff$/m)
  })

  await t.test('a second daemon finds the name taken and leaves', async (t) => {
    const pid = await property(client, 'MainPID')
    const second = await host.run(await client.daemonCommand(), { reject: false })
    t.equal(second.exitCode, 1)
    t.match(second.stderr, 'Bus name org.freedesktop.machine1 is already taken')
    t.equal(await property(client, 'MainPID'), pid)
  })

  await t.test('it stops at once, saying so, and cleanly', async (t) => {
    // PID 1 forgets how a unit ended that nothing refers to.
    await host.run(['systemd-run', '-q', '--collect', '-p', `After=${UNIT}`, 'sleep', 'infinity'])
    await host.run(['systemctl', 'stop', UNIT])
    t.equal(await property(client, 'Result'), 'success')
    t.equal(await property(client, 'ExecMainCode'), '1', 'exited')
    t.equal(await property(client, 'ExecMainStatus'), '0')
    t.equal(await property(client, 'StatusText'), 'Shutting down...')
  })

  await t.test('a call on the bus starts it', async (t) => {
    t.match((await client.call('GetMachine', 's', 'kept')).stdout, /machine\/kept/)
    t.equal(await client.output('systemctl', 'is-active', UNIT), 'active')
  })

  await t.test('it feeds the watchdog', async (t) => {
    await host.writeFile(`/run/systemd/system/${UNIT}.d/watchdog.conf`, '[Service]\nWatchdogSec=1s\n')
    await host.run(['systemctl', 'daemon-reload'])
    await host.run(['systemctl', 'restart', UNIT])
    const pid = await property(client, 'MainPID')
    const start = Number(await property(client, 'WatchdogTimestampMonotonic'))
    const fed = async (): Promise<boolean> =>
      Number(await property(client, 'WatchdogTimestampMonotonic')) > start + 2_500_000
    await host.waitFor(fed, 'the watchdog to be fed for more than two periods')
    t.equal(await property(client, 'MainPID'), pid)

    // This test has started it more often than PID 1 lets a service that fails.
    await host.run(['systemctl', 'reset-failed', UNIT])
    await host.run(['kill', '-STOP', pid])
    const isReplaced = async (): Promise<boolean> =>
      ![pid, '0'].includes(await property(client, 'MainPID')) && (await property(client, 'ActiveState')) === 'active'
    await host.waitFor(isReplaced, 'a daemon that hangs to be replaced')
    t.match((await client.call('GetMachine', 's', 'kept')).stdout, /machine\/kept/)
    await host.run(['rm', '-r', `/run/systemd/system/${UNIT}.d`])
    await host.run(['systemctl', 'daemon-reload'])
  })
}

import t from 'tap'
import { TestHost } from '../host/host.ts'

// Names that are free again only a moment later: what users of the stock daemon met as "already exists" (issue 2).

const NAME = 'org.freedesktop.machine1'
const PATH = '/org/freedesktop/machine1'
const ROUNDS = 200

const host = await TestHost.start()
t.teardown(() => host.stop())

/** A busctl call of the manager, as an argument list. */
function call(member: string, ...args: string[]): string[] {
  return ['busctl', 'call', NAME, PATH, `${NAME}.Manager`, member, ...args]
}

function create(name: string, leader: string): string[] {
  return call('CreateMachine', 'sayssusa(sv)', name, '0', 'test', 'vm', leader, '', '0')
}

async function isGone(name: string): Promise<boolean> {
  return (await host.run(call('GetMachine', 's', name), { reject: false })).exitCode !== 0
}

/** A process in a unit of its own; returns its PID. */
async function startProcess(unit: string): Promise<string> {
  await host.run(['systemd-run', '-q', '--collect', '--service-type=exec', `--unit=${unit}`, 'sleep', 'infinity'])
  return (await host.run(['systemctl', 'show', '-P', 'MainPID', `${unit}.service`])).stdout
}

async function leaderOf(name: string): Promise<string> {
  return (await host.run(['machinectl', 'show', name, '--property=Leader'])).stdout.replace('Leader=', '')
}

t.test(`a service that registers itself can be restarted ${ROUNDS} times in a row`, async (t) => {
  // The service is up once its registration has succeeded: systemctl's exit code says whether it did.
  await host.writeFile(
    '/run/systemd/system/phoenix.service',
    `[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
NotifyAccess=all
ExecStart=/bin/sh -c '${call('RegisterMachine', 'sayssus', 'phoenix', '0', 'test', 'container', '$$$$', '/').join(' ')} && systemd-notify --ready && exec sleep infinity'
`
  )
  await host.run(['systemctl', 'daemon-reload'])
  const script = `
    systemctl start phoenix.service
    for round in $(seq ${ROUNDS}); do systemctl restart phoenix.service || { echo "round $round" >&2; exit 1; }; done`
  const { exitCode, stderr } = await host.run(['sh', '-c', script], { reject: false })
  const journal = exitCode === 0 ? '' : (await host.run(['journalctl', '-n', '30', '-o', 'cat'])).stdout
  t.equal(exitCode, 0, stderr + journal)
  t.equal(await leaderOf('phoenix'), (await host.run(['systemctl', 'show', '-P', 'MainPID', 'phoenix'])).stdout)
  await host.run(['systemctl', 'stop', 'phoenix.service'])
  await host.waitFor(() => isGone('phoenix'), 'the machine to be gone')
  t.equal((await host.run(['ls', '-A', '/run/systemd/machines'])).stdout, '')
})

t.test('a container of systemd-nspawn@.service can be restarted', async (t) => {
  // Without a network and user namespaces of its own, which need not be there: this is about the name.
  await host.writeFile(
    '/etc/systemd/system/systemd-nspawn@.service.d/test.conf',
    `[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=
ExecStart=systemd-nspawn --quiet --keep-unit --boot --settings=no --notify-ready=yes --machine=%i
`
  )
  await host.run(['mkdir', '-p', '/run/layers/upper', '/run/layers/work', '/var/lib/machines/again'])
  const layers = 'lowerdir=/run/test-host/guest,upperdir=/run/layers/upper,workdir=/run/layers/work'
  await host.run(['mount', '-t', 'overlay', '-o', layers, 'again', '/var/lib/machines/again'])
  await host.run(['systemctl', 'daemon-reload'])
  await host.run(['systemctl', 'start', 'systemd-nspawn@again.service'])
  for (let round = 0; round < 5; round++) {
    const before = await leaderOf('again')
    await host.run(['systemctl', 'restart', 'systemd-nspawn@again.service'])
    t.not(await leaderOf('again'), before)
  }
  await host.run(['systemctl', 'stop', 'systemd-nspawn@again.service'])
  await host.waitFor(() => isGone('again'), 'the container to be gone')
})

t.test('CreateMachine takes the name of a machine that was just killed or terminated', async (t) => {
  for (const end of [
    ['machinectl', 'kill', '--kill-whom=leader', '--signal=KILL', 'a-b'],
    ['machinectl', 'terminate', 'a-b'],
    ['systemctl', 'stop', '--no-block', 'machine-a\\x2db.scope']
  ]) {
    await host.run(create('a-b', await startProcess('first')))
    const leader = await startProcess('second')
    await host.run(end)
    await host.run(create('a-b', leader))
    t.equal(await leaderOf('a-b'), leader, end.join(' '))
    await host.run(['machinectl', 'terminate', 'a-b'])
    await host.waitFor(() => isGone('a-b'), 'the machine to be gone')
  }
})

/** A scope named as that of the machine, with a process in it that only SIGKILL ends; ours knows nothing of it. */
async function startStubbornScope(name: string, ...properties: string[]): Promise<void> {
  const scope = `machine-${name}.scope`
  const stubborn = `trap '' TERM; touch /run/${name}.ready; while :; do sleep 1000; done`
  const options = ['--scope', '-q', `--unit=${scope}`, ...properties.flatMap((property) => ['-p', property])]
  host.spawn(['systemd-run', ...options, 'sh', '-c', stubborn])
  await host.waitFor(
    async () => (await host.run(['test', '-e', `/run/${name}.ready`], { reject: false })).exitCode === 0,
    'the scope to be up'
  )
}

async function scopeState(name: string): Promise<string> {
  return (await host.run(['systemctl', 'show', '-P', 'ActiveState', `machine-${name}.scope`])).stdout
}

t.test('CreateMachine waits for a scope of that name which is going down', async (t) => {
  await startStubbornScope('slow', 'TimeoutStopSec=infinity')
  await host.run(['systemctl', 'stop', '--no-block', 'machine-slow.scope'])
  const leader = await startProcess('after-slow')
  const created = host.run(create('slow', leader))
  t.equal(await Promise.race([created.then(() => 'created'), scopeState('slow')]), 'deactivating')
  await host.run(['systemctl', 'kill', '--signal=KILL', 'machine-slow.scope'])
  await created
  t.equal(await scopeState('slow'), 'active')
  t.equal(await leaderOf('slow'), leader)
})

t.test('CreateMachine takes the place of a scope that failed', async (t) => {
  await startStubbornScope('broken', 'RuntimeMaxSec=1', 'TimeoutStopSec=1')
  await host.waitFor(async () => (await scopeState('broken')) === 'failed', 'the scope to fail')
  const leader = await startProcess('after-broken')
  await host.run(create('broken', leader))
  t.equal(await leaderOf('broken'), leader)
})

t.test("a scope that lives keeps its name: PID 1's error goes through, and nothing is left", async (t) => {
  await startStubbornScope('alive')
  const { exitCode, stderr } = await host.run(create('alive', await startProcess('refused')), { reject: false })
  t.not(exitCode, 0)
  t.match(stderr, 'machine-alive.scope was already loaded or has a fragment file')
  t.ok(await isGone('alive'))
  t.equal(await scopeState('alive'), 'active')
  t.equal((await host.run(['systemctl', 'is-active', 'refused.service'])).stdout, 'active')
})

t.test('of two who create the same machine at once, one gets it and the other is told', async (t) => {
  const leaders = await Promise.all([startProcess('one'), startProcess('two')])
  const results = await Promise.all(leaders.map((leader) => host.run(create('both', leader), { reject: false })))
  t.strictSame(results.map(({ exitCode }) => exitCode).sort(), [0, 1])
})

t.test('a daemon that ends keeps its compiled code for the next one, a killed one does not', async (t) => {
  const unit = 'systemd-machined.service'
  const look = async (): Promise<string> =>
    (await host.run(['stat', '-c', '%a %U', '/run/machined/code'], { reject: false })).stdout
  await host.run(['systemctl', 'stop', unit])
  t.equal(await look(), '600 root')
  await host.run(['systemctl', 'start', unit])
  t.equal(await look(), '', 'taken')
  await host.run(['systemctl', 'kill', '--signal=KILL', unit])
  await host.waitFor(
    async () => (await host.run(call('ListMachines'), { reject: false })).exitCode === 0,
    'the next one'
  )
  t.equal(await look(), '')
})

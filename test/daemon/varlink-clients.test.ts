import t from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'
import { callOne, HOOK_SOCKET, MACHINE_SOCKET } from './varlink-client.ts'

const M = 'io.systemd.Machine'
const I = 'io.systemd.MachineImage'
const USER = 'alice'
const ADDRESS = '192.0.2.7'

const host = await TestHost.start({ root: 'testing' })
t.teardown(() => host.stop())
const client = new Client(host)
await host.run(['useradd', USER])
await host.startContainer('veiled', ['-U', '--network-veth'])

t.test('users and groups of a container have names', async (t) => {
  const uid = (await client.call('MapFromMachineUser', 'su', 'veiled', '0')).stdout.replace('u ', '')
  const shown = await client.output('userdbctl', '--no-pager', 'user', 'vu-veiled-0')
  t.match(shown, 'UID 0 of Container veiled')
  t.match(shown, `UID: ${uid}`)
  t.match(await client.output('userdbctl', '--no-pager', 'group', `vg-veiled-0`), 'GID 0 of Container veiled')
  t.match(await client.output('getent', 'passwd', uid), `vu-veiled-0:x:${uid}:65534:UID 0 of Container veiled:/:`)
  await host.run(['sh', '-c', `touch /run/theirs; chown ${uid}:${uid} /run/theirs`])
  t.match(await client.output('ls', '-l', '/run/theirs'), ' vu-veiled-0 vg-veiled-0 ')
})

t.test('resolved finds a container by its name', async (t) => {
  const leader = await client.leader('veiled')
  await host.run(['nsenter', '-t', leader, '-n', 'ip', 'address', 'add', `${ADDRESS}/24`, 'dev', 'host0'])
  await host.run(['nsenter', '-t', leader, '-n', 'ip', 'link', 'set', 'host0', 'up'])
  await host.run(['systemctl', 'start', 'systemd-resolved.service'])
  const query = (name: string) => host.run(['resolvectl', 'query', '-4', name], { reject: false })
  await host.waitFor(async () => (await query('veiled')).stdout.includes(ADDRESS), 'resolved to ask the hook')
  t.match((await query('VEILED')).stdout, ADDRESS)
  t.match(
    (await host.run(['resolvectl', 'query', '--type=MX', 'veiled'], { reject: false })).stderr,
    /does not have any RR/
  )
  t.notMatch((await query('www.veiled')).stderr, /not found/, 'what is below is left to others')
})

t.test('mkosi registers by a plain PID, and gets a scope when it wants one', async (t) => {
  const leader = Number(await client.startProcess('mkosi'))
  const machine = { name: 'image', class: 'vm', service: 'mkosi', leader, vSockCid: 77, sshAddress: 'vsock/77' }
  const parameters = JSON.stringify({ ...machine, sshPrivateKeyPath: '/nowhere', allocateUnit: true })
  t.equal(await client.output('varlinkctl', 'call', MACHINE_SOCKET, `${M}.Register`, parameters), '')
  t.match(await host.readFile(`/proc/${String(leader)}/cgroup`), 'machine-image.scope', 'it is in its scope already')
  const { parameters: record } = await callOne(host, `${M}.List`, { name: 'image' })
  t.match(record, { name: 'image', class: 'vm', service: 'mkosi', vSockCid: 77, unit: 'machine-image.scope' })
  const all = await client.output(
    'varlinkctl',
    '--more',
    'call',
    MACHINE_SOCKET,
    `${M}.List`,
    '{"acquireMetadata":"graceful"}'
  )
  for (const name of ['.host', 'image', 'veiled']) t.match(all, `"name":"${name}"`)
  t.match(all, '"OSRelease":["PRETTY_NAME=')
  await host.run(['machinectl', 'terminate', 'image'])
  await client.waitTillGone('image')
})

/** A control socket that takes down what it is asked for. */
const CONTROL = `
import socket
server = socket.socket(socket.AF_UNIX)
server.bind("/run/control")
server.listen()
while True:
    peer, _ = server.accept()
    message = peer.recv(4096)
    with open("/run/controlled", "ab") as log:
        log.write(message.replace(b"\\0", b"\\n"))
    peer.sendall(b"{}\\0")`

t.test('machinectl reboots a machine by its control socket, and by a signal where it has none', async (t) => {
  const register = async (name: string, more: object): Promise<void> => {
    const leader = Number(await client.output('systemctl', 'show', '-P', 'MainPID', `${name}.service`))
    const machine = { name, class: 'vm', service: 'test', leader, ...more }
    t.strictSame(await callOne(host, `${M}.Register`, machine), {})
  }
  host.spawn(['python3', '-c', CONTROL])
  await host.waitFor(
    async () => (await host.run(['test', '-S', '/run/control'], { reject: false })).exitCode === 0,
    'the socket'
  )
  await client.startProcess('controlled')
  await register('controlled', { controlAddress: '/run/control' })
  for (const verb of ['reboot', 'poweroff', 'terminate', 'pause', 'resume']) {
    await host.run(['machinectl', verb, 'controlled'])
  }
  const asked = (await host.readFile('/run/controlled')).trim().split('\n')
  const method = (text: string): unknown => (JSON.parse(text) as { method: unknown }).method
  t.strictSame(
    asked.map(method),
    ['Reboot', 'PowerOff', 'Terminate', 'Pause', 'Resume'].map((name) => `io.systemd.MachineInstance.${name}`)
  )
  t.equal(await client.output('systemctl', 'is-active', 'controlled.service'), 'active', 'it was left to who runs it')
  await client.call('UnregisterMachine', 's', 'controlled')

  const script = 'trap "echo rebooted >/run/rebooted" INT; echo >/run/trapped; while :; do sleep 0.1; done'
  await host.run(['systemd-run', '-q', '--collect', '--unit=plain', 'sh', '-c', script])
  const exists = async (path: string): Promise<boolean> =>
    (await host.run(['test', '-s', path], { reject: false })).exitCode === 0
  await host.waitFor(() => exists('/run/trapped'), 'the process to be ready')
  await register('plain', {})
  await host.run(['machinectl', 'reboot', 'plain'])
  await host.waitFor(() => exists('/run/rebooted'), 'the signal to arrive')
  const told = async (...argv: string[]): Promise<string> => (await host.run(argv, { reject: false })).stderr
  t.match(await told('machinectl', 'pause', 'plain'), "Machine 'plain' does not expose a varlink control socket.")
  t.match(await told('machinectl', 'reboot', 'nobody'), `${M}.NoSuchMachine`)
  await host.run(['machinectl', 'terminate', 'plain'])
  await client.waitTillGone('plain')
})

t.test('who follows the filter of the hook learns of each machine that comes and goes', async (t) => {
  const follower = host.spawn([
    'varlinkctl',
    '--more',
    'call',
    HOOK_SOCKET,
    'io.systemd.Resolve.Hook.QueryFilter',
    '{}'
  ])
  let seen = ''
  follower.stdout.setEncoding('utf8').on('data', (text: string) => (seen += text))
  const last = (): string => seen.trimEnd().split('\u001e').at(-1) ?? ''
  await host.waitFor(() => last() === '{"filterDomains":["veiled"]}', 'the present state')
  await client.register('short', await client.startProcess('short'))
  await host.waitFor(() => last() === '{"filterDomains":["veiled","short"]}', 'the new machine')
  await client.call('UnregisterMachine', 's', 'short')
  await host.waitFor(() => last() === '{"filterDomains":["veiled"]}', 'the machine to be gone')
  follower.kill()
  t.end()
})

/** A service whose machine is in one group below its own, and something else in another. */
const SHARED = `
  group=/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)
  mkdir "$group/payload" "$group/rest"; echo $$ >"$group/rest/cgroup.procs"
  sleep infinity & echo $! >"$group/payload/cgroup.procs"; echo $! >/run/shared; wait; exec sleep infinity`

t.test('a machine that shares its unit is told apart from it, also by the next daemon', async (t) => {
  const run = ['systemd-run', '-q', '--collect', '--unit=shared', '-p', 'Delegate=yes', '--expand-environment=no']
  await host.run([...run, 'sh', '-euc', SHARED])
  const isThere = async (): Promise<boolean> =>
    (await host.run(['test', '-s', '/run/shared'], { reject: false })).exitCode === 0
  await host.waitFor(isThere, 'the process to be in its group')
  const leader = Number(await host.readFile('/run/shared'))
  t.strictSame(await callOne(host, `${M}.Register`, { name: 'sharing', class: 'container', leader }), {})
  await host.run(['systemctl', 'restart', 'systemd-machined.service'])
  const { parameters } = await callOne(host, `${M}.List`, { name: 'sharing' })
  t.match(parameters, { unit: 'shared.service', subgroup: 'payload' })
  // There is nobody to ask: who registered it is long gone.
  t.match(await callOne(host, `${M}.Terminate`, { name: 'sharing' }), { parameters: { errnoName: 'EOPNOTSUPP' } })
  t.strictSame(await callOne(host, `${M}.Kill`, { name: 'sharing', signal: 'KILL' }), {})
  await client.waitTillGone('sharing')
  t.equal(await client.output('systemctl', 'is-active', 'shared.service'), 'active', 'the rest of it goes on')
})

const RULES = `
polkit.addRule(function (action, subject) {
  if (subject.user != "${USER}") return polkit.Result.NOT_HANDLED
  if (action.id == "org.freedesktop.machine1.register-machine") return polkit.Result.YES
  if (action.id == "org.freedesktop.machine1.create-machine") return polkit.Result.YES
  if (action.id != "org.freedesktop.machine1.manage-machines") return polkit.Result.NOT_HANDLED
  if (action.lookup("verb") == "terminate" && action.lookup("name") == "roots") return polkit.Result.NO
  if (action.lookup("verb") == "kill") {
    polkit.spawn(["sh", "-c", "echo asked >/run/asked; cat /run/go"])
    return polkit.Result.YES
  }
  return polkit.Result.NOT_HANDLED
})
`

t.test('users do what polkit lets them', async (t) => {
  const asUser = { user: USER }
  await host.run(['systemd-run', '-q', '--collect', '--unit=own', `--uid=${USER}`, 'sleep', 'infinity'])
  const leader = Number(await client.output('systemctl', 'show', '-P', 'MainPID', 'own.service'))
  const own = { name: 'own', class: 'container', leader }
  const roots = Number(await client.startProcess('roots'))
  await client.register('roots', String(roots))
  const needsPassword = { error: 'io.systemd.InteractiveAuthenticationRequired' }
  const denied = { error: 'org.varlink.service.PermissionDenied' }

  t.strictSame(await callOne(host, `${M}.Register`, own, asUser), needsPassword)
  t.strictSame(await callOne(host, `${M}.Terminate`, { name: 'nope' }, asUser), { error: `${M}.NoSuchMachine` })
  t.match(await callOne(host, `${M}.List`, { name: 'roots' }, asUser), { parameters: { name: 'roots' } })
  t.strictSame(await callOne(host, `${M}.List`, { name: 'roots', acquireMetadata: 'yes' }, asUser), needsPassword)
  t.strictSame(await callOne(host, 'io.systemd.service.SetLogLevel', { level: 7 }, asUser), {
    ...denied,
    parameters: { level: 7 }
  })
  await host.writeFile('/etc/polkit-1/rules.d/10-test.rules', RULES)
  const isLetIn = async (): Promise<boolean> => (await callOne(host, `${M}.Register`, own, asUser)).error === undefined
  await host.waitFor(isLetIn, 'polkit to load the rule')
  t.match(
    (await callOne(host, `${M}.List`, { name: 'own' })).parameters?.['UID'],
    Number(await client.output('id', '-u', USER))
  )
  const alien = { name: 'alien', class: 'container', leader: Number(await client.startProcess('alien')) }
  t.strictSame(await callOne(host, `${M}.Register`, alien, asUser), denied, "another's process")
  t.strictSame(await callOne(host, `${M}.Terminate`, { name: 'roots' }, asUser), denied)
  t.strictSame(await callOne(host, `${M}.Unregister`, { name: 'roots' }, asUser), needsPassword)

  await t.test('a machine that went while polkit was thinking is not acted on', async (t) => {
    await host.run(['mkfifo', '-m', '666', '/run/asked', '/run/go'])
    const pending = callOne(host, `${M}.Kill`, { name: 'roots', signal: 9 }, asUser)
    await host.run(['cat', '/run/asked'])
    await client.call('UnregisterMachine', 's', 'roots')
    await host.run(['sh', '-c', 'echo go >/run/go'])
    t.strictSame(await pending, { error: `${M}.NoSuchMachine` })
    t.equal(await client.output('systemctl', 'is-active', 'roots.service'), 'active')
  })

  await t.test('one who hangs up meanwhile is not acted for', async (t) => {
    await client.register('roots', String(roots))
    const message = JSON.stringify({ method: `${M}.Kill`, parameters: { name: 'roots', signal: 9 } })
    const script = `
import socket
peer = socket.socket(socket.AF_UNIX)
peer.connect("${MACHINE_SOCKET}")
peer.sendall(b'${message}\\0')
open("/run/asked").read()`
    await host.run(['python3', '-c', script], asUser)
    await host.run(['sh', '-c', 'echo go >/run/go'])
    t.match(await callOne(host, `${M}.Kill`, { name: 'roots', signal: 'CONT' }), {})
    t.equal(await client.output('systemctl', 'is-active', 'roots.service'), 'active')
  })

  await t.test('a machine of a user outside of a user namespace is opened for nobody, not even root', async (t) => {
    for (const mode of ['tty', 'login', 'shell']) {
      t.strictSame(await callOne(host, `${M}.Open`, { name: 'own', mode }), denied, mode)
    }
  })

  await t.test('CreateMachineEx asks for what CreateMachine asks for', async (t) => {
    await host.run(['systemd-run', '-q', '--collect', '--unit=made', `--uid=${USER}`, 'sleep', 'infinity'])
    const made = await client.output('systemctl', 'show', '-P', 'MainPID', 'made.service')
    const id = await client.output('python3', '-c', `import os; print(os.fstat(os.pidfd_open(${made})).st_ino)`)
    const properties = ['3', 'Class', 's', 'container', 'LeaderPID', 'u', made, 'LeaderPIDFDID', 't', id, '0']
    const manager = ['org.freedesktop.machine1', '/org/freedesktop/machine1', 'org.freedesktop.machine1.Manager']
    const call = ['busctl', 'call', ...manager, 'CreateMachineEx', 'sa(sv)a(sv)', 'made', ...properties]
    t.match((await host.run(call, asUser)).stdout, '/org/freedesktop/machine1/machine/made')
    t.match(await callOne(host, `${M}.List`, { name: 'made' }), { parameters: { unit: 'machine-made.scope' } })
    await client.call('TerminateMachine', 's', 'made')
    await client.waitTillGone('made')
  })

  await t.test('the owner needs nobody', async (t) => {
    t.strictSame(await callOne(host, `${M}.Terminate`, { name: 'own' }, asUser), {})
    await client.waitTillGone('own')
  })
})

/** Forbids what is asked for with exactly these details; anything else needs a password. */
const IMAGE_RULES = `
polkit.addRule(function (action, subject) {
  if (subject.user != "${USER}" || !/-images$/.test(action.id)) return polkit.Result.NOT_HANDLED
  var details = ["verb", "image", "new_name", "mode", "name"].map(function (key) { return action.lookup(key) || "" })
  var asked = action.id.replace(/.*[.]/, "") + " " + details.join(",")
  return [
    "inspect-images ,,,,plain",
    "inspect-images ,,,,n/a",
    "manage-images update,plain,,,",
    "manage-images clone,plain,copy,,",
    "manage-images remove,plain,,,",
    "manage-images set_pool_limit,,,,",
    "manage-images clean_pool,,,hidden,"
  ].indexOf(asked) < 0 ? polkit.Result.NOT_HANDLED : polkit.Result.NO
})
`

t.test('polkit is told what is to be done to which image', async (t) => {
  const asUser = { user: USER }
  const more = { ...asUser, flags: { more: true } }
  const denied = { error: 'org.varlink.service.PermissionDenied' }
  const ask = { acquireMetadata: 'yes' }
  await host.run(['mkdir', '-p', '/var/lib/machines/plain', '/var/lib/machines/unasked'])
  t.match(await callOne(host, `${I}.List`, { name: 'plain' }, asUser), { parameters: { type: 'directory' } })
  t.strictSame(await callOne(host, `${I}.Remove`, { name: 'nope' }, asUser), { error: `${I}.NoSuchImage` })
  await host.writeFile('/etc/polkit-1/rules.d/20-images.rules', IMAGE_RULES)
  const isDenied = async (): Promise<boolean> =>
    (await callOne(host, `${I}.Remove`, { name: 'plain' }, asUser)).error === denied.error
  await host.waitFor(isDenied, 'polkit to load the rule')
  t.strictSame(await callOne(host, `${I}.List`, { name: 'plain', ...ask }, asUser), denied)
  t.strictSame(await callOne(host, `${I}.List`, ask, more), denied)
  t.strictSame(await callOne(host, `${I}.Update`, { name: 'plain', newName: 'x', limit: 1 }, asUser), denied)
  t.strictSame(await callOne(host, `${I}.Clone`, { name: 'plain', newName: 'copy' }, asUser), denied)
  t.strictSame(await callOne(host, `${I}.SetPoolLimit`, { limit: 1 }, asUser), denied)
  t.strictSame(await callOne(host, `${I}.CleanPool`, { mode: 'hidden' }, more), denied)
  t.strictSame(await callOne(host, `${I}.Remove`, { name: 'unasked' }, asUser), {
    error: 'io.systemd.InteractiveAuthenticationRequired'
  })
  t.match(await callOne(host, `${I}.List`, { name: 'unasked' }), { parameters: { name: 'unasked' } })
  await host.run(['rmdir', '/var/lib/machines/plain', '/var/lib/machines/unasked'])
})

t.test('no user gets all connections', async (t) => {
  const script = `
import socket
peers = []
for _ in range(200):
    peer = socket.socket(socket.AF_UNIX)
    peer.connect("${MACHINE_SOCKET}")
    peers.append(peer)
alive = 0
for peer in peers:
    try:
        peer.sendall(b'{"method":"io.systemd.service.Ping"}\\0')
        alive += peer.recv(10) == b'{}\\0'
    except OSError:
        pass
print(alive)`
  t.equal((await host.run(['python3', '-c', script], { user: USER })).stdout, '128')
  t.strictSame(await callOne(host, 'io.systemd.service.Ping'), {})
})

t.test('nothing of this was a bug to the daemon', async (t) => {
  t.notMatch(await client.output('journalctl', '-u', 'systemd-machined', '-o', 'cat', '--no-pager'), 'because of a bug')
})

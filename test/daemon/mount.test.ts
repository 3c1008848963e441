import t from 'tap'
import { TestHost, type RunResult } from '../host/host.ts'
import { Client } from './client.ts'

const POINT = '/run/machine'

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)
await host.startContainer('c1')
await host.startContainer('veiled', ['-U'])

/** Runs what people type. */
function run(...argv: string[]): Promise<RunResult> {
  return host.run(argv, { reject: false })
}

/** Runs a shell script in a container, as its root. */
async function inside(name: string, script: string): Promise<string> {
  const namespaces = ['--mount', '--pid', '--root', '--wd', ...(name === 'veiled' ? ['--user'] : [])]
  return client.output('nsenter', `--target=${await client.leader(name)}`, ...namespaces, 'sh', '-euc', script)
}

/** Mount points below that of a machine, with their options. */
async function mountsOf(name: string): Promise<string[]> {
  const text = await host.readFile('/proc/self/mountinfo')
  const fields = text.split('\n').map((line) => line.split(' '))
  return fields.flatMap(([, , , , path = '', options = '', tag = '']) =>
    `${path}/`.startsWith(`${POINT}/${name}/`) ? [`${path} ${options} ${tag}`] : []
  )
}

t.test('mount prints the mount point, umount takes it away', async (t) => {
  await inside(
    'c1',
    'echo found >/etc/token; mkdir -p /srv/sub; mount -t tmpfs sub /srv/sub; echo there >/srv/sub/file'
  )
  t.match(await run('machinectl', 'mount', 'c1'), { stdout: `Mount point: ${POINT}/c1`, stderr: '', exitCode: 0 })
  t.equal(await client.output('cat', `${POINT}/c1/etc/token`), 'found')
  t.equal(await client.output('cat', `${POINT}/c1/srv/sub/file`), 'there', 'with what is mounted in there')
  for (const name of ['proc', 'sys', 'dev']) t.equal(await client.output('ls', '-A', `${POINT}/c1/${name}`), '', name)
  for (const line of await mountsOf('c1')) t.match(line, / (rw|ro),nosuid,nodev\S* -$/, 'private, and no danger')
  t.equal(await client.output('stat', '-c', '%a', POINT), '700', 'for root only')

  t.match(
    await run('machinedctl', 'mount', 'c1'),
    { stdout: `Mount point: ${POINT}/c1`, exitCode: 0 },
    'the same again'
  )
  t.match(await run('machinedctl', 'mounts'), {
    stdout: /^NAME MOUNT POINT +READ-ONLY\nc1 +\/run\/machine\/c1 no\n\n1 mounts listed\.$/
  })
  t.match(await run('machinectl', 'umount', 'c1'), { stdout: '', stderr: '', exitCode: 0 })
  t.strictSame(await mountsOf('c1'), [])
  t.equal(await client.output('ls', POINT), '')
  t.match(await run('machinedctl', 'mounts'), { stdout: 'No mounts.' })
  t.equal(await inside('c1', 'cat /srv/sub/file; ls /proc/1/comm'), 'there\n/proc/1/comm', 'nothing changed in there')
})

import { readFileSync } from 'node:fs'
import t from 'tap'
import { TestHost } from './host.ts'

const isRoot = process.getuid?.() === 0

void t.test('a Debian 13 host with the stock daemon', { skip: !isRoot && 'needs root' }, async (t) => {
  const limits = ['/proc/sys/fs/nr_open', '/proc/sys/fs/file-max'].map((path) => readFileSync(path, 'utf8'))
  const host = await TestHost.start({ root: 'debian13', machined: 'stock' })
  t.teardown(() => host.stop())

  const state = await host.run(['systemctl', 'is-system-running'], { reject: false })
  t.match(state.stdout, /^(running|degraded)$/)
  t.equal((await host.run(['machinectl', 'list'])).stdout, 'No machines.')

  t.equal((await host.run(['id', '-un'], { user: 'nobody' })).stdout, 'nobody')
  t.equal((await host.run(['cat'], { input: 'text' })).stdout, 'text')
  t.equal((await host.run(['sh', '-c', 'exit 3'], { reject: false })).exitCode, 3)
  await t.rejects(host.run(['false']))
  await host.writeFile('/run/some/where', 'one\n')
  t.equal(await host.readFile('/run/some/where'), 'one\n')

  const child = host.spawn(['sleep', '4321'])
  const isRunning = async (): Promise<boolean> =>
    (await host.run(['pgrep', '-f', '^sleep 4321'], { reject: false })).exitCode === 0
  await host.waitFor(isRunning, 'the child to run')
  child.kill()
  await host.waitFor(async () => !(await isRunning()), 'the child to be gone')

  await host.startContainer('guest')
  t.match((await host.run(['machinectl', 'list', '--no-legend'])).stdout, /^guest +container +systemd-nspawn/)
  await host.run(['machinectl', 'terminate', 'guest'])
  const isGone = async (): Promise<boolean> => (await host.run(['machinectl', 'list'])).stdout === 'No machines.'
  await host.waitFor(isGone, 'the container to be gone')

  await host.stop()
  await t.rejects(host.run(['true']), 'nothing runs after stop()')
  const after = ['/proc/sys/fs/nr_open', '/proc/sys/fs/file-max'].map((path) => readFileSync(path, 'utf8'))
  t.same(after, limits, 'settings of the machine are untouched')
})

void t.test('switching daemons while a machine runs', { skip: !isRoot && 'needs root' }, async (t) => {
  const host = await TestHost.start()
  t.teardown(() => host.stop())
  await host.startContainer('guest')
  const argv = ['systemctl', 'show', '--property=ExecStart', '--value', 'systemd-machined.service']
  const program = async (): Promise<string> => (await host.run(argv)).stdout
  const list = async (): Promise<string> => (await host.run(['machinectl', 'list', '--no-legend'])).stdout

  t.match(await program(), /start\.cjs/)
  await host.useStock()
  t.match(await program(), /path=\S*\/systemd-machined /)
  t.match(await list(), /^guest +container/)
  await host.useOurs()
  t.match(await program(), /start\.cjs/)
  t.match(await list(), /^guest +container/)
})

import { once } from 'node:events'
import t from 'tap'
import { TestHost } from '../host/host.ts'
import { Client } from './client.ts'

const UNIT = 'systemd-machined.service'
const STARTED = '24d8d4452573402496068381a6312df2'
const STOPPED = '58432bd3bace477cb514b56381b8a758'

const host = await TestHost.start()
t.teardown(() => host.stop())
const client = new Client(host)

/** Journal entries that match; those of our unit, so PID 1's own about it are left out. */
async function entries(...matches: string[]): Promise<Record<string, string>[]> {
  await host.run(['journalctl', '--sync'])
  const lines = await client.output('journalctl', '-o', 'json', `_SYSTEMD_UNIT=${UNIT}`, ...matches)
  return lines
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, string>)
}

t.test('a machine that comes and goes is told to the journal, with fields', async (t) => {
  const leader = await client.startProcess('told')
  await client.register('told', leader)
  await host.run(['systemctl', 'stop', 'told.service'])
  await client.waitTillGone('told')
  const common = {
    NAME: 'told',
    LEADER: leader,
    PRIORITY: '6',
    SYSLOG_IDENTIFIER: 'systemd-machined',
    SYSLOG_FACILITY: '4',
    _SYSTEMD_UNIT: UNIT,
    _TRANSPORT: 'journal'
  }
  t.match(await entries(`MESSAGE_ID=${STARTED}`), [{ ...common, MESSAGE: 'New machine told.' }])
  t.match(await entries(`MESSAGE_ID=${STOPPED}`), [{ ...common, MESSAGE: 'Machine told terminated.' }])
})

t.test('a journal that was started anew is told, too', async (t) => {
  await host.run(['systemctl', 'restart', 'systemd-journald.service'])
  await client.register('later', await client.startProcess('later'))
  t.match(await entries('NAME=later'), [{ MESSAGE: 'New machine later.' }])
  await host.run(['systemctl', 'stop', 'later.service'])
})

t.test('the log level can be read and set while the daemon runs', async (t) => {
  const level = async (): Promise<string> => client.output('systemctl', 'service-log-level', UNIT)
  t.equal(await level(), 'info')
  await host.run(['systemctl', 'service-log-level', UNIT, 'warning'])
  t.equal(await level(), 'warning')
  await client.register('hushed', await client.startProcess('hushed'))
  t.same(await entries('NAME=hushed'), [], 'nothing below the level is logged')
  await host.run(['systemctl', 'service-log-level', UNIT, 'debug'])
  t.equal((await client.call('UnregisterMachine', 's', 'hushed')).exitCode, 0)
  t.match(await entries('NAME=hushed'), [{ MESSAGE_ID: STOPPED }])
  const refused = await host.run(['systemctl', 'service-log-level', UNIT, 'loud'], { reject: false })
  t.not(refused.exitCode, 0)
  t.equal(await level(), 'debug')
})

t.test('the log target can be read', async (t) => {
  t.match(await client.output('systemctl', 'service-log-target', UNIT), /^(journal|auto|journal-or-kmsg)$/)
})

t.test('a warning has its priority', async (t) => {
  await host.run(['systemctl', 'stop', UNIT])
  await host.writeFile('/run/systemd/machines/broken', 'NAME=other\n')
  await host.run(['systemctl', 'start', UNIT])
  const [warning] = await entries('PRIORITY=4')
  t.match(warning, { MESSAGE: /broken/, SYSLOG_IDENTIFIER: 'systemd-machined' })
  await host.run(['rm', '-f', '/run/systemd/machines/broken'])
})

t.test('elsewhere messages are text on standard error', async (t) => {
  await client.register('spoken', await client.startProcess('spoken'))
  await host.run(['systemctl', 'stop', UNIT])
  const daemon = host.spawn(await client.daemonCommand())
  let stderr = ''
  daemon.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const exit = once(daemon, 'exit')
  await host.waitFor(() => stderr.includes('\n'), 'a message')
  t.equal(stderr, 'New machine spoken.\n')
  daemon.kill('SIGTERM')
  await exit
})

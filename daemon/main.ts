#!/usr/bin/env node
import { readCommandLine } from './command-line.ts'
import { log, useEnvironment, useSink } from './base/log.ts'
import { version } from './base/version.ts'
import { serve } from './api/dbus/serve.ts'
import { serveVarlink } from './api/varlink/serve.ts'
import { BusDriver } from './bus/driver.ts'
import { Connection } from './bus/connection.ts'
import { Polkit } from './bus/polkit.ts'
import { ServiceManager } from './bus/systemd.ts'
import { JournalQueue, stderrIsJournal } from './linux/journal.ts'
import { exitAtOnce } from './linux/libc.ts'
import { notify, watchdogInterval } from './linux/notify.ts'
import { Manager } from './manager.ts'
import { Networkd } from './network/networkd.ts'

const NAME = 'org.freedesktop.machine1'
const DO_NOT_QUEUE = 4

/** The daemon's life, in the order of spec/dbus.md 1.2. What is asked of the bus on the way is awaited only at the end. */
async function run(): Promise<void> {
  process.umask(0o022)
  useEnvironment()
  if (stderrIsJournal()) logToJournal()
  process.on('exit', exitAtOnce)
  const connection = await Connection.open()
  connection.onClose = () => {
    fail(new Error('Connection to the system bus was lost'))
  }
  const systemd = new ServiceManager(connection)
  const networkd = new Networkd(connection)
  const manager = new Manager(systemd, networkd)
  const authority = new Polkit(connection)
  serve(manager, connection, new BusDriver(connection), authority)
  const started = Promise.all([
    systemd.subscribe(manager.machines),
    claimBusName(connection),
    manager.enumerate(),
    // Without networks of ours nobody needs to know.
    manager.config.network.manage === 'no' ? undefined : networkd.watch()
  ])
  holdCalls(connection, started)
  await started
  serveVarlink({ manager, authority, version: version(), directory: '/run/systemd' })
  stopOnSignals(connection, manager)
  feedWatchdog()
  notify(['READY=1', 'STATUS=Processing requests...'])
  void manager.recoverNetworks()
}

function logToJournal(): void {
  const journal = new JournalQueue()
  useSink((entry) => {
    journal.write(entry)
  })
}

/** Lets calls that come before all machines are known wait for that, in their order. */
function holdCalls(connection: Connection, started: Promise<unknown>): void {
  const handle = connection.onMethodCall
  connection.onMethodCall = (message) => started.then(() => handle(message))
  void started.then(() => (connection.onMethodCall = handle))
}

async function claimBusName(connection: Connection): Promise<void> {
  const reply = await connection.call({
    destination: 'org.freedesktop.DBus',
    path: '/org/freedesktop/DBus',
    interface: 'org.freedesktop.DBus',
    member: 'RequestName',
    signature: 'su',
    body: [NAME, DO_NOT_QUEUE]
  })
  if (reply.body[0] !== 1) throw new Error(`Bus name ${NAME} is already taken`)
}

/** State files stay in place and machines run on; the next daemon takes them up. */
function stopOnSignals(connection: Connection, manager: Manager): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      notify(['STOPPING=1', 'STATUS=Shutting down...'])
      connection.onClose = () => undefined
      manager.operations.close()
      void connection.flush().finally(() => process.exit(0))
    })
  }
}

function feedWatchdog(): void {
  const interval = watchdogInterval()
  if (interval !== undefined) setInterval(() => notify(['WATCHDOG=1']), interval / 2).unref()
}

function fail(error: unknown): never {
  log.error({ err: error }, 'Fatal')
  process.exit(1)
}

process.on('uncaughtException', fail)
process.on('unhandledRejection', fail)
// What it throws is an unhandled rejection.
if (readCommandLine(process.argv.slice(2))) void run()

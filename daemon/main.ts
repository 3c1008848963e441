import { readCommandLine } from './command-line.ts'
import { log, useEnvironment, useSink } from './base/log.ts'
import { version } from './base/version.ts'
import { serve } from './api/dbus/serve.ts'
import { VarlinkServers } from './api/varlink/serve.ts'
import { BusDriver } from './bus/driver.ts'
import { Connection } from './bus/connection.ts'
import { OwnName } from './bus/own-name.ts'
import { ServiceManager } from './bus/systemd.ts'
import { exitWhenIdle } from './idle-exit.ts'
import { systemInstance, userInstance, type Instance } from './instance.ts'
import { JournalQueue, stderrIsJournal } from './linux/journal.ts'
import { exitAtOnce } from './linux/libc.ts'
import { notify, watchdogInterval } from './linux/notify.ts'
import { Manager, type Neighbours } from './manager.ts'
import { Firewalld } from './network/firewalld.ts'
import { NetworkManager } from './network/network-manager.ts'
import { Networkd } from './network/networkd.ts'
import { followResume } from './network/resume.ts'

const NAME = 'org.freedesktop.machine1'

/** The daemon's life, in the order of spec/dbus.md 1.2. What is asked of the bus on the way is awaited only at the end. */
async function run(instance: Instance): Promise<void> {
  process.umask(0o022)
  useEnvironment()
  if (stderrIsJournal()) logToJournal()
  process.on('exit', exitAtOnce)
  const connection = await Connection.open(instance.bus)
  connection.onClose = () => {
    fail(new Error('Connection to the bus was lost'))
  }
  const systemd = new ServiceManager(connection)
  const neighbours = {
    networkd: new Networkd(connection),
    networkManager: new NetworkManager(connection),
    firewalld: new Firewalld(connection)
  }
  const manager = new Manager(instance, systemd, neighbours)
  const name = new OwnName(connection, NAME)
  const authority = instance.authority(connection)
  serve(manager, connection, new BusDriver(connection), authority)
  const varlink = new VarlinkServers({ manager, authority, version: version() })
  const { machines, operations } = manager
  const exit = exitAfter(connection)
  exitWhenIdle(instance.idleMs, { connection, varlink, machines, operations, name, exit })
  const started = Promise.all([
    systemd.subscribe(machines),
    name.claim(),
    manager.enumerate(),
    // Without networks of ours nobody needs to know.
    manager.config.network.manage === 'no' ? undefined : watchNeighbours(manager, neighbours)
  ])
  holdCalls(connection, started)
  await started
  varlink.listen()
  stopOnSignals(() => {
    operations.close()
    // By then whoever waited for one has been answered.
    setImmediate(exit)
  })
  feedWatchdog()
  notify(['READY=1', 'STATUS=Processing requests...'])
  // Only when the name is ours: nobody else works on what is found then.
  void manager.imageChanges.removeLeftovers()
  const recover = (): void => void manager.recoverNetworks()
  recover()
  process.on('SIGHUP', recover)
  if (manager.config.network.manage !== 'no') void followResume(connection, recover)
}

async function watchNeighbours(manager: Manager, { networkd, firewalld }: Neighbours): Promise<void> {
  const tell = (): void => {
    manager.firewalls.renew()
  }
  await Promise.all([networkd.watch(), firewalld.watch(tell)])
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

/** Ends the process once all answers are sent. State files stay, machines run on, and the next daemon takes them up. */
function exitAfter(connection: Connection): () => void {
  return () => {
    connection.onClose = () => undefined
    void connection.flush().finally(() => process.exit(0))
  }
}

function stopOnSignals(stop: () => void): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      notify(['STOPPING=1', 'STATUS=Shutting down...'])
      stop()
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
const scope = readCommandLine(process.argv.slice(2))
// What it throws is an unhandled rejection.
if (scope !== undefined) void run(scope === 'user' ? userInstance(process.env) : systemInstance)

import { log } from '../../base/log.ts'
import type { Authority } from '../../bus/polkit.ts'
import { listenUnix, passedSockets, setAttribute } from '../../linux/unix-listener.ts'
import type { Manager } from '../../manager.ts'
import { introspectionTable, systemTable } from './introspection.ts'
import { machineTable } from './machine.ts'
import { resolveHookTable } from './resolve-hook.ts'
import { VarlinkServer } from './server.ts'
import { serviceTable } from './service.ts'
import { userDatabaseTable } from './user-database.ts'

const NAME = 'io.systemd.Machine'
const FOR_EVERYBODY = 0o666

/** The IDs that containers get, and the names those have: who looks for others need not ask. */
const USER_DATABASE_ATTRIBUTES = {
  'user.userdb.uid': '65536-4294967294',
  'user.userdb.gid': '65536-4294967294',
  'user.userdb.username': 'vu-*',
  'user.userdb.groupname': 'vg-*'
} as const

/** What serving takes. */
export interface Surroundings {
  readonly manager: Manager
  readonly authority: Authority
  /** The daemon's own version. */
  readonly version: string
  /** Where the system has its sockets: /run/systemd. */
  readonly directory: string
}

/** Serves all Varlink sockets of the system's instance (spec/varlink-and-clients.md A1). Throws SystemError. */
export function serveVarlink({ manager, authority, version, directory }: Surroundings): void {
  const machines = serverOf({ authority, version })
  machines.serve(machineTable, manager)
  machines.serve(serviceTable, undefined)
  for (const fd of machineSockets(directory)) machines.listen(fd)
  const users = `${directory}/userdb/${NAME}`
  const userDatabase = serverOf({ authority, version })
  userDatabase.serve(userDatabaseTable, manager)
  userDatabase.listen(listenUnix(users, FOR_EVERYBODY))
  setAttributes(users, USER_DATABASE_ATTRIBUTES)
  const hook = serverOf({ authority, version })
  hook.serve(resolveHookTable, manager)
  hook.listen(listenUnix(`${directory}/resolve.hook/${NAME}`, FOR_EVERYBODY))
}

/** A server with what each has. */
function serverOf({ authority, version }: Pick<Surroundings, 'authority' | 'version'>): VarlinkServer {
  const server = new VarlinkServer(authority)
  server.serve(systemTable, undefined)
  server.serve(introspectionTable, { version, tables: () => server.tables })
  return server
}

/** The service manager's sockets or, where it has passed none, our own. */
function machineSockets(directory: string): number[] {
  const passed = passedSockets('varlink')
  if (passed.length > 0) return passed
  return [NAME, `${NAME}Image`].map((name) => listenUnix(`${directory}/machine/${name}`, FOR_EVERYBODY))
}

function setAttributes(path: string, attributes: Readonly<Record<string, string>>): void {
  try {
    for (const [name, value] of Object.entries(attributes)) setAttribute(path, name, value)
  } catch (error) {
    log.debug({ err: error }, `Cannot set the attributes of ${path}`)
  }
}

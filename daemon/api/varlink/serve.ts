import { log } from '../../base/log.ts'
import type { Authority } from '../../bus/polkit.ts'
import { listenUnix, passedSockets, setAttribute } from '../../linux/unix-listener.ts'
import type { Instance } from '../../instance.ts'
import type { Manager } from '../../manager.ts'
import { eventsTable } from './events.ts'
import { imageTable } from './image.ts'
import { introspectionTable, systemTable } from './introspection.ts'
import { machineTable } from './machine.ts'
import { mountTable } from './mount.ts'
import { networkTable } from './network.ts'
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
}

/** The Varlink servers of an instance (spec/varlink-and-clients.md A1). */
export class VarlinkServers {
  /** Called when one of the clients that are counted has gone. */
  onLeave: () => void = () => undefined
  readonly #instance: Instance
  readonly #machines: VarlinkServer
  readonly #users: VarlinkServer
  readonly #hook: VarlinkServer

  constructor(surroundings: Surroundings) {
    const { manager } = surroundings
    this.#instance = manager.instance
    this.#machines = serverOf(surroundings)
    this.#machines.serve(machineTable, manager)
    this.#machines.serve(imageTable, manager)
    this.#machines.serve(eventsTable, manager)
    this.#machines.serve(mountTable, manager)
    this.#machines.serve(networkTable, manager)
    this.#machines.serve(serviceTable, undefined)
    this.#users = serverOf(surroundings)
    this.#users.serve(userDatabaseTable, manager)
    this.#hook = serverOf(surroundings)
    this.#hook.serve(resolveHookTable, manager)
    for (const server of [this.#machines, this.#users]) {
      server.onLeave = () => {
        this.onLeave()
      }
    }
  }

  /** How many clients are connected, but for resolved, which stays. */
  get connections(): number {
    return this.#machines.connections + this.#users.connections
  }

  /** Opens the sockets. Throws SystemError. */
  listen(): void {
    const { socketDirectory, socketMode, answersLookups } = this.#instance
    for (const fd of machineSockets(socketDirectory, socketMode)) this.#machines.listen(fd)
    if (!answersLookups) return
    const users = `${socketDirectory}/userdb/${NAME}`
    this.#users.listen(listenUnix(users, FOR_EVERYBODY))
    setAttributes(users, USER_DATABASE_ATTRIBUTES)
    this.#hook.listen(listenUnix(`${socketDirectory}/resolve.hook/${NAME}`, FOR_EVERYBODY))
  }

  /** Accepts no client any more, and ends the connections that there are. */
  close(): void {
    for (const server of [this.#machines, this.#users, this.#hook]) server.close()
  }
}

/** A server with what each has. */
function serverOf({ authority, version }: Pick<Surroundings, 'authority' | 'version'>): VarlinkServer {
  const server = new VarlinkServer(authority)
  server.serve(systemTable, undefined)
  server.serve(introspectionTable, { version, tables: () => server.tables })
  return server
}

/** The service manager's sockets or, where it has passed none, our own. */
function machineSockets(directory: string, mode: number): number[] {
  const passed = passedSockets('varlink')
  if (passed.length > 0) return passed
  return [NAME, `${NAME}Image`].map((name) => listenUnix(`${directory}/machine/${name}`, mode))
}

function setAttributes(path: string, attributes: Readonly<Record<string, string>>): void {
  try {
    for (const [name, value] of Object.entries(attributes)) setAttribute(path, name, value)
  } catch (error) {
    log.debug({ err: error }, `Cannot set the attributes of ${path}`)
  }
}

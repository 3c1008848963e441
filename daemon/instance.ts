import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Connection } from './bus/connection.ts'
import { Polkit, type Authority } from './bus/polkit.ts'
import { readConfig, type Config } from './config.ts'
import { systemPlaces, userPlaces, type ImagePlaces } from './image/places.ts'
import { unitOfCgroup, userUnitOfCgroup } from './linux/cgroup.ts'
import type { Machines } from './machine/machines.ts'

/** Whether the daemon is the system's or a user's, and all that depends on it (spec/dbus.md 0.2). */
export interface Instance {
  /** The address of the bus where it serves and finds its PID 1; undefined for the system bus. */
  readonly bus: string | undefined
  readonly stateDirectory: string
  /** Where roots of machines are mounted. */
  readonly mountDirectory: string
  /** Where Varlink clients look for sockets, in a directory of its own each. */
  readonly socketDirectory: string
  readonly socketMode: number
  /** Whether the system asks it for the users and the addresses of containers. */
  readonly answersLookups: boolean
  readonly images: ImagePlaces
  readonly readConfig: () => Config
  readonly unitOf: Machines['unitOf']
  /** Whether the host itself is among its machines. */
  readonly hasHost: boolean
  /** The only user whose machines it takes; undefined for all. */
  readonly user: number | undefined
  /** After how many milliseconds with nothing to do it exits, if ever. */
  readonly idleMs: number | undefined
  /** Who decides about calls that the caller's UID alone does not allow. */
  readonly authority: (connection: Connection) => Authority
}

type Environment = Readonly<Record<string, string | undefined>>

const IDLE_MS = 30_000

/** As PID 1 of the system starts it. It always has the host for a machine, so it is never idle. */
export const systemInstance: Instance = {
  bus: undefined,
  stateDirectory: '/run/systemd/machines',
  mountDirectory: '/run/machine',
  socketDirectory: '/run/systemd',
  socketMode: 0o666,
  answersLookups: true,
  images: systemPlaces,
  readConfig,
  unitOf: unitOfCgroup,
  hasHost: true,
  user: undefined,
  idleMs: undefined,
  authority: (connection) => new Polkit(connection)
}

/** As the service manager of the calling user starts it. Throws without $XDG_RUNTIME_DIR. */
export function userInstance(environment: Environment): Instance {
  const runtime = environment['XDG_RUNTIME_DIR'] ?? ''
  if (!runtime.startsWith('/')) throw new Error('$XDG_RUNTIME_DIR is not set to an absolute path.')
  return {
    bus: environment['DBUS_SESSION_BUS_ADDRESS'] ?? `unix:path=${join(runtime, 'bus')}`,
    stateDirectory: join(runtime, 'systemd/machines'),
    mountDirectory: join(runtime, 'machine'),
    socketDirectory: join(runtime, 'systemd'),
    socketMode: 0o600,
    answersLookups: false,
    images: userPlaces(environment['HOME'] ?? homedir(), environment),
    readConfig: configOfUser,
    unitOf: userUnitOfCgroup,
    hasHost: false,
    user: process.getuid?.(),
    idleMs: idleTime(environment),
    authority: () => everybody
  }
}

/** Who gets through to the bus of a user may do all there: that is the user (spec/dbus.md 0.6). */
const everybody: Authority = {
  check: () => Promise.resolve({ authorized: true, challenge: false, admin: false })
}

/** Networks are for the system alone to make. */
function configOfUser(): Config {
  const config = readConfig()
  return { ...config, network: { ...config.network, manage: 'no' } }
}

/** $SYSTEMD_EXIT_ON_IDLE, known from systemd(1), turns the exit off; $MACHINED_IDLE_MS is for tests, which cannot wait. */
function idleTime(environment: Environment): number | undefined {
  if (/^(0|no|n|false|f|off)$/i.test(environment['SYSTEMD_EXIT_ON_IDLE'] ?? '')) return undefined
  const given = Number(environment['MACHINED_IDLE_MS'] ?? '')
  return given > 0 ? given : IDLE_MS
}

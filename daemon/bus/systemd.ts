import { Variant } from './client-bus.ts'
import type { Connection } from './connection.ts'

const SYSTEMD = 'org.freedesktop.systemd1'
const MANAGER_PATH = '/org/freedesktop/systemd1'
const MANAGER = 'org.freedesktop.systemd1.Manager'
const FIRST_WITH_SUBGROUPS = 258
const UNIT_PREFIX = '/org/freedesktop/systemd1/unit/'

export type UnitProperty = [name: string, value: Variant]

/** What PID 1 tells us about units and jobs. */
export interface ServiceManagerEvents {
  jobRemoved(job: string, unit: string, result: string): void
  unitChanged(unit: string): void
  reloaded(): void
}

/** PID 1's manager API as we use it; see org.freedesktop.systemd1(5). All calls reject with its error, unchanged. */
export class ServiceManager {
  readonly #connection: Connection
  #hasSubgroups = true

  constructor(connection: Connection) {
    this.#connection = connection
  }

  /** Whether PID 1 can signal a part of a unit. Known once subscribe() has resolved. */
  get hasSubgroups(): boolean {
    return this.#hasSubgroups
  }

  /** Starts the flow of signals (spec/dbus.md 6.1). */
  async subscribe(events: ServiceManagerEvents): Promise<void> {
    const signal = { sender: SYSTEMD, path: MANAGER_PATH, interface: MANAGER }
    await Promise.all([
      this.#readVersion(),
      this.#connection.onSignal({ ...signal, member: 'JobRemoved' }, ({ body }) => {
        const [, job, unit, result] = body as [number, string, string, string]
        events.jobRemoved(job, unit, result)
      }),
      this.#connection.onSignal({ ...signal, member: 'UnitRemoved' }, ({ body }) => {
        events.unitChanged((body as [string, string])[0])
      }),
      this.#connection.onSignal({ ...signal, member: 'Reloading' }, ({ body }) => {
        if (body[0] === false) events.reloaded()
      }),
      this.#connection.onSignal(
        {
          sender: SYSTEMD,
          interface: 'org.freedesktop.DBus.Properties',
          member: 'PropertiesChanged',
          arg0: `${SYSTEMD}.Unit`
        },
        ({ path }) => {
          if (path?.startsWith(UNIT_PREFIX)) events.unitChanged(unescapeLabel(path.slice(UNIT_PREFIX.length)))
        }
      ),
      this.#call('Subscribe', '', [])
    ])
  }

  /** Starts a unit that may run already; returns the object path of the job. */
  async startUnit(unit: string): Promise<string> {
    return (await this.#call('StartUnit', 'ss', [unit, 'replace'])) as string
  }

  /** Returns the object path of the start job. */
  async startTransientUnit(unit: string, properties: readonly UnitProperty[]): Promise<string> {
    return (await this.#call('StartTransientUnit', 'ssa(sv)a(sa(sv))', [unit, 'fail', properties, []])) as string
  }

  /** Returns the object path of the stop job, or "" if there is no such unit. */
  async stopUnit(unit: string): Promise<string> {
    try {
      return (await this.#call('StopUnit', 'ss', [unit, 'fail'])) as string
    } catch (error) {
      if (isMissingUnit(error)) return ''
      throw error
    }
  }

  async killUnit(unit: string, whom: string, signal: number): Promise<void> {
    await this.#call('KillUnit', 'ssi', [unit, whom, signal])
  }

  async killUnitSubgroup(unit: string, subgroup: string, signal: number): Promise<void> {
    await this.#call('KillUnitSubgroup', 'sssi', [unit, 'cgroup', subgroup, signal])
  }

  async unrefUnit(unit: string): Promise<void> {
    await this.#call('UnrefUnit', 's', [unit])
  }

  async resetFailedUnit(unit: string): Promise<void> {
    await this.#call('ResetFailedUnit', 's', [unit])
  }

  /** Whether a job is still queued or running; true when PID 1 gives no clear answer. */
  async jobExists(job: string): Promise<boolean> {
    try {
      await this.#property(job, 'org.freedesktop.systemd1.Job', 'State')
      return true
    } catch (error) {
      return errorName(error) !== 'org.freedesktop.DBus.Error.UnknownObject'
    }
  }

  /** `ActiveState` of a unit; "inactive" if there is none, undefined when PID 1 gives no clear answer. */
  async activeState(unit: string): Promise<string | undefined> {
    try {
      return (await this.#property(
        UNIT_PREFIX + escapeLabel(unit),
        'org.freedesktop.systemd1.Unit',
        'ActiveState'
      )) as string
    } catch (error) {
      return isMissingUnit(error) ? 'inactive' : undefined
    }
  }

  async #readVersion(): Promise<void> {
    const version = (await this.#property(MANAGER_PATH, MANAGER, 'Version')) as string
    // Such as "257.13-1"; something else is a build newer than any release.
    this.#hasSubgroups = !(parseInt(version) < FIRST_WITH_SUBGROUPS)
  }

  /** The cgroup of a scope, "" before it has one; undefined when PID 1 gives no clear answer. */
  async scopeControlGroup(unit: string): Promise<string | undefined> {
    const path = UNIT_PREFIX + escapeLabel(unit)
    return (await this.#property(path, `${SYSTEMD}.Scope`, 'ControlGroup').catch(() => undefined)) as string | undefined
  }

  async #call(member: string, signature: string, body: unknown[]): Promise<unknown> {
    const request = { destination: SYSTEMD, path: MANAGER_PATH, interface: MANAGER, member, signature, body }
    return (await this.#connection.call(request)).body[0]
  }

  async #property(path: string, iface: string, name: string): Promise<unknown> {
    const reply = await this.#connection.call({
      destination: SYSTEMD,
      path,
      interface: 'org.freedesktop.DBus.Properties',
      member: 'Get',
      signature: 'ss',
      body: [iface, name]
    })
    return (reply.body[0] as Variant).value
  }
}

/** The D-Bus name of an error reply, or "" for any other error. */
export function errorName(error: unknown): string {
  return error instanceof Error && 'type' in error && typeof error.type === 'string' ? error.type : ''
}

/** Whether an error says that there is no such unit. */
export function isMissingUnit(error: unknown): boolean {
  return [`${SYSTEMD}.NoSuchUnit`, `${SYSTEMD}.LoadFailed`, 'org.freedesktop.DBus.Error.UnknownObject'].includes(
    errorName(error)
  )
}

function escapeLabel(text: string): string {
  return text.replace(
    /[^A-Za-z0-9]|^[0-9]/g,
    (character) => `_${character.charCodeAt(0).toString(16).padStart(2, '0')}`
  )
}

function unescapeLabel(label: string): string {
  return label.replace(/_([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)))
}

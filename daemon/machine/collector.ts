import { log } from '../base/log.ts'
import type { ServiceManager } from '../bus/systemd.ts'
import { isEmptyCgroup, scopeNameForMachine } from '../linux/cgroup.ts'
import type { Machine } from './machine.ts'

/** What becomes of a machine that is over. */
export interface Undertaker {
  /** Stops what is left of it, as Terminate does. */
  stop(machine: Machine): Promise<void>
  /** Takes it out of the registry. */
  finalize(machine: Machine): void
}

/**
 * Whether there may be something left to stop. A unit that was found inactive has nothing, and by now it may run again:
 * stopping it would end what a restart has just begun. The same goes for a service whose old leader went while nobody
 * looked; a scope of ours is never started again.
 */
function hasRemains(machine: Machine): boolean {
  if (!machine.ownsUnit) return true
  return machine.registration.leader === undefined && machine.unit === scopeNameForMachine(machine.name)
}

/** Finds out which machines are over (spec/dbus.md 6.4) and ends them. */
export class Collector {
  readonly #systemd: ServiceManager
  readonly #undertaker: Undertaker
  readonly #checking = new Map<Machine, 'once' | 'again'>()

  constructor(systemd: ServiceManager, undertaker: Undertaker) {
    this.#systemd = systemd
    this.#undertaker = undertaker
  }

  /** Checks one machine soon. Never throws; checks of one machine never overlap, and none that is asked for is lost. */
  check(machine: Machine): void {
    if (machine.class === 'host' || !machine.started) return
    if (this.#checking.has(machine)) {
      this.#checking.set(machine, 'again')
      return
    }
    // The common case by far: a unit of a machine in its prime has changed.
    if (machine.leaderAlive) return
    this.#checking.set(machine, 'once')
    void this.#checkNow(machine)
      .catch((error: unknown) => {
        log.warn({ NAME: machine.name, err: error }, `Failed to check whether machine ${machine.name} is over`)
      })
      .finally(() => {
        const again = this.#checking.get(machine) === 'again'
        this.#checking.delete(machine)
        if (again) this.check(machine)
      })
  }

  async #checkNow(machine: Machine): Promise<void> {
    if (await this.#isHollowScope(machine)) await this.#stop(machine)
    if (!(await this.#isOver(machine))) return
    if (machine.state !== 'closing' && hasRemains(machine)) await this.#stop(machine)
    if (await this.#isOver(machine)) this.#undertaker.finalize(machine)
  }

  async #stop(machine: Machine): Promise<void> {
    await this.#undertaker.stop(machine).catch((error: unknown) => {
      log.debug({ NAME: machine.name, err: error }, `Failed to stop machine ${machine.name}`)
    })
  }

  /**
   * Whether the machine's scope runs with nobody in it. PID 1 ends a scope when the last process leaves; one whose
   * leader died on its way in was never entered, and would stay for ever.
   */
  async #isHollowScope({ leaderAlive, state, ownsUnit, unit }: Machine): Promise<boolean> {
    if (leaderAlive || state !== 'running' || !ownsUnit || !unit.endsWith('.scope')) return false
    if ((await this.#systemd.activeState(unit)) !== 'active') return false
    const group = await this.#systemd.scopeControlGroup(unit)
    return group !== undefined && isEmptyCgroup(group)
  }

  /** A living leader keeps its machine whatever the unit does; after it, so does what is left of the unit. */
  async #isOver(machine: Machine): Promise<boolean> {
    if (machine.registration.leader === undefined) return true
    if (machine.leaderAlive) return false
    if (machine.scopeJob !== '' && (await this.#systemd.jobExists(machine.scopeJob))) return false
    if (!machine.ownsUnit) return true
    return ['inactive', 'failed'].includes((await this.#systemd.activeState(machine.unit)) ?? '')
  }
}

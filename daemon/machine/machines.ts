import { EventEmitter } from 'node:events'
import { constants } from 'node:os'
import { MachinedError, systemError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import type { ServiceManager, ServiceManagerEvents } from '../bus/systemd.ts'
import { scopeNameForMachine, type UnitPlace } from '../linux/cgroup.ts'
import type { PidRef } from '../linux/process.ts'
import { Collector } from './collector.ts'
import { unitOfLeader } from './find-process.ts'
import { logStarted, logStopped } from './journal-entries.ts'
import type { Machine } from './machine.ts'
import { createScope, type ScopeRequest } from './scope.ts'
import { ScopeJobs } from './scope-jobs.ts'
import type { StateDirectory } from './state-file.ts'
import { UnitChanges } from './unit-changes.ts'
import { watchMachine, type Watches } from './watches.ts'

type Events = Record<'new' | 'removed' | 'changed', [machine: Machine]>

/**
 * The registry: every machine by name, by leader and by unit, and what keeps each in it.
 * Emits `new` when a machine is tracked and its file written, `changed` when its state is another, `removed` when its file
 * is gone.
 */
export class Machines extends EventEmitter<Events> implements ServiceManagerEvents {
  /** Finds the unit of a cgroup path among those of our PID 1, the system's or a user's. */
  readonly unitOf: (path: string) => UnitPlace | undefined
  readonly #systemd: ServiceManager
  readonly #state: StateDirectory
  readonly #machines = new Map<string, Machine>()
  /** Only machines that have their unit to themselves. */
  readonly #byUnit = new Map<string, Machine>()
  readonly #byLeader = new Map<number, Machine>()
  readonly #watches = new Map<Machine, Watches>()
  readonly #scopeJobs = new ScopeJobs()
  readonly #unitChanges = new UnitChanges()
  readonly #collector: Collector

  constructor(systemd: ServiceManager, state: StateDirectory, unitOf: Machines['unitOf']) {
    super()
    // One for each registration that waits for its name.
    this.setMaxListeners(0)
    this.unitOf = unitOf
    this.#systemd = systemd
    this.#state = state
    this.#collector = new Collector(systemd, {
      stop: (machine) => this.stop(machine),
      finalize: (machine) => {
        this.#finalize(machine)
      }
    })
  }

  /** Adds the host as machine `.host`, which is never saved nor collected. */
  addHost(host: Machine): void {
    this.#machines.set(host.name, host)
  }

  all(): IterableIterator<Machine> {
    return this.#machines.values()
  }

  names(): string[] {
    return [...this.#machines.keys()]
  }

  find(name: string): Machine | undefined {
    return this.#machines.get(name)
  }

  /** The machine of that name. Throws NoSuchMachine. */
  get(name: string): Machine {
    const machine = this.#machines.get(name)
    if (machine === undefined) throw new MachinedError('NoSuchMachine', `No machine '${name}' known`)
    return machine
  }

  findByUnit(unit: string): Machine | undefined {
    return this.#byUnit.get(unit)
  }

  /** The machine whose leader this is; a bare PID (no pidfd known) matches by number. */
  findByLeader(pid: number, process?: PidRef): Machine | undefined {
    const machine = this.#byLeader.get(pid)
    return process === undefined || machine?.registration.leader?.equals(process) === true ? machine : undefined
  }

  /** Tracks a machine whose leader is in a unit already. Throws if that unit cannot be told. */
  register(machine: Machine): void {
    const leader = machine.registration.leader
    if (leader === undefined) throw new MachinedError('InvalidArgs', 'Invalid leader PID')
    const { unit, subgroup } = unitOfLeader(this, leader)
    machine.unit = unit
    // Where PID 1 knows only whole units, the payload has one to itself: nspawn may even move it about in there later.
    machine.subgroup = this.#systemd.hasSubgroups ? subgroup : ''
    this.#insert(machine)
    try {
      this.#start(machine)
    } catch (error) {
      this.#forget(machine)
      throw error
    }
  }

  /**
   * Tracks a machine in a new scope; resolves when the scope's start job is done. Throws what PID 1 says, and JobFailed
   * when the job came to nothing; then the machine is gone again.
   */
  async create(machine: Machine, properties: ScopeRequest['properties']): Promise<void> {
    const scope = scopeNameForMachine(machine.name)
    this.#insert(machine)
    using pending = this.#scopeJobs.expect(scope)
    const job = await this.#createScope(machine, properties)
    machine.unit = scope
    machine.referenced = true
    machine.scopeJob = job
    if (this.#machines.get(machine.name) !== machine) {
      this.#unrefUnit(machine)
      throw new MachinedError('Failed', `Machine '${machine.name}' was unregistered before its scope was there`)
    }
    this.#byUnit.set(scope, machine)
    this.#start(machine)
    const result = await pending.result(job)
    this.#endJob(machine, job)
    if (result === 'done') return
    this.#finalize(machine)
    throw new MachinedError('JobFailed', `Start job for unit ${scope} failed with '${result}'`)
  }

  /** Ends the registration; processes and unit stay. */
  unregister(machine: Machine): void {
    if (machine.class !== 'host') this.#finalize(machine)
  }

  /** Stops the machine's unit, or asks its supervisor to end it (spec/dbus.md 6.6). Throws EOPNOTSUPP for one without. */
  async stop(machine: Machine): Promise<void> {
    if (machine.class === 'host') throw systemError(constants.errno.EOPNOTSUPP, 'stop')
    if (machine.ownsUnit) machine.scopeJob = await this.#systemd.stopUnit(machine.unit)
    else if (machine.registration.supervisor !== undefined)
      machine.registration.supervisor.kill(constants.signals.SIGTERM)
    else throw systemError(constants.errno.EOPNOTSUPP, 'stop')
    machine.stopping = true
    if (machine.started) this.#change(machine)
    this.collect(machine)
  }

  /** Takes up a machine that an earlier daemon tracked. */
  async restore(machine: Machine): Promise<void> {
    this.#machines.set(machine.name, machine)
    const { leader } = machine.registration
    if (leader !== undefined) this.#byLeader.set(leader.pid, machine)
    // Before PID 1 is asked: the job may end right after its answer.
    if (machine.ownsUnit && this.#byUnit.get(machine.unit) === undefined) this.#byUnit.set(machine.unit, machine)
    if (machine.scopeJob !== '' && !(await this.#systemd.jobExists(machine.scopeJob))) machine.scopeJob = ''
    this.#start(machine)
    this.collect(machine)
  }

  jobRemoved(job: string, unit: string, result: string): void {
    this.#scopeJobs.ended(unit, job, result)
    this.#unitChanges.report(unit)
    const machine = this.#byUnit.get(unit)
    if (machine === undefined) return
    this.#endJob(machine, job)
    this.collect(machine)
  }

  unitChanged(unit: string): void {
    this.#unitChanges.report(unit)
    const machine = this.#byUnit.get(unit)
    if (machine !== undefined) this.collect(machine)
  }

  reloaded(): void {
    for (const machine of this.#machines.values()) void this.#recheck(machine)
  }

  /** Whether the machine is over or will be soon, so that its name is about to be free. */
  async isGoingDown(machine: Machine): Promise<boolean> {
    if (!machine.leaderAlive || machine.stopping) return true
    return machine.unit !== '' && (await this.#systemd.activeState(machine.unit)) === 'deactivating'
  }

  /** What PID 1 said while it was away from the bus is lost, the end of a job included. */
  async #recheck(machine: Machine): Promise<void> {
    const { scopeJob, unit } = machine
    if (scopeJob !== '' && !(await this.#systemd.jobExists(scopeJob))) {
      this.jobRemoved(scopeJob, unit, (await this.#systemd.activeState(unit)) === 'active' ? 'done' : 'failed')
    }
    this.collect(machine)
  }

  /** Checks whether the machine is over and, if so, removes it. */
  collect(machine: Machine): void {
    this.#collector.check(machine)
  }

  /** Returns the start job; a machine that gets no scope is forgotten. */
  async #createScope(machine: Machine, properties: ScopeRequest['properties']): Promise<string> {
    try {
      const wanted = (): boolean => this.#machines.get(machine.name) === machine
      return await createScope(this.#systemd, { machine, properties, changes: this.#unitChanges, wanted })
    } catch (error) {
      this.#forget(machine)
      throw error
    }
  }

  #insert(machine: Machine): void {
    if (this.#machines.has(machine.name)) {
      throw new MachinedError('MachineExists', `Machine '${machine.name}' already exists`)
    }
    const leader = machine.registration.leader
    if (leader !== undefined && this.findByLeader(leader.pid, leader) !== undefined) {
      throw new MachinedError('FileExists', 'File exists')
    }
    if (machine.ownsUnit) {
      const holder = this.#byUnit.get(machine.unit)
      if (holder?.started === true && !holder.leaderAlive) this.#finalize(holder)
      if (this.#byUnit.has(machine.unit)) throw new MachinedError('FileExists', 'File exists')
      this.#byUnit.set(machine.unit, machine)
    }
    this.#machines.set(machine.name, machine)
    if (leader !== undefined) this.#byLeader.set(leader.pid, machine)
  }

  #start(machine: Machine): void {
    const check = (): void => {
      this.collect(machine)
    }
    this.#watches.set(machine, watchMachine(machine, check))
    if (machine.realtime === 0n) {
      machine.realtime = BigInt(Date.now()) * 1000n
      machine.monotonic = process.hrtime.bigint() / 1000n
    }
    machine.started = true
    this.#save(machine)
    logStarted(machine)
    this.emit('new', machine)
    // The watch of a pidfd tells by itself of a leader that is gone already.
    if (machine.registration.leader?.pidfd === undefined && !machine.leaderAlive) check()
  }

  #change(machine: Machine): void {
    this.#save(machine)
    this.emit('changed', machine)
  }

  #save(machine: Machine): void {
    try {
      this.#state.save(machine)
    } catch (error) {
      log.warn({ NAME: machine.name }, `Failed to save machine data of ${machine.name}: ${String(error)}`)
    }
  }

  #finalize(machine: Machine): void {
    if (this.#machines.get(machine.name) !== machine) return
    machine.stopping = true
    if (machine.started) logStopped(machine)
    try {
      this.#state.remove(machine)
    } catch (error) {
      log.warn({ NAME: machine.name, err: error }, `Failed to remove machine data of ${machine.name}`)
    }
    this.#forget(machine)
    if (machine.started) {
      machine.started = false
      this.emit('removed', machine)
    }
    if (machine.referenced) this.#unrefUnit(machine)
    this.#scopeJobs.cancel(machine.unit)
  }

  #unrefUnit(machine: Machine): void {
    this.#systemd.unrefUnit(machine.unit).catch((error: unknown) => {
      log.debug({ NAME: machine.name, err: error }, `Failed to drop our reference on ${machine.unit}`)
    })
  }

  /** Takes the machine out of all tables and closes its descriptors. */
  #forget(machine: Machine): void {
    if (this.#machines.get(machine.name) === machine) this.#machines.delete(machine.name)
    if (this.#byUnit.get(machine.unit) === machine) this.#byUnit.delete(machine.unit)
    const { leader, supervisor } = machine.registration
    if (leader !== undefined && this.#byLeader.get(leader.pid) === machine) this.#byLeader.delete(leader.pid)
    this.#watches.get(machine)?.close()
    this.#watches.delete(machine)
    leader?.close()
    supervisor?.close()
  }

  #endJob(machine: Machine, job: string): void {
    if (machine.scopeJob !== job) return
    machine.scopeJob = ''
    if (machine.started) this.#change(machine)
  }
}

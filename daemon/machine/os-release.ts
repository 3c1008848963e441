import { explain } from '../base/errors.ts'
import { readFileBounded } from '../linux/file.ts'
import { firstOf, OS_RELEASE_LIMIT, parseOSRelease, type OSRelease } from '../linux/jobs-os-release.ts'
import type { NamespaceWorkers } from '../linux/namespace-workers.ts'
import type { PidRef } from '../linux/process.ts'
import { closeSight, isUnchanged } from '../linux/sight.ts'
import { Standpoint } from '../linux/standpoint.ts'
import { leaderOfContainer, type Machine } from './machine.ts'
import type { Machines } from './machines.ts'

type Fields = OSRelease['fields']

/** In characters: what is worth keeping in memory, as a machine's root decides how big its file is. */
const KEPT_LIMIT = 16 * 1024

/**
 * Reads the os-release(5) of machines (spec/dbus.md 7.3). Reading is for a thread, as a file system in there may never answer,
 * and to wake up a thread takes longer than all else. So what was read is remembered for as long as the kernel says, without
 * waiting for anybody, that a machine's root directory and what is found below it are what they were.
 */
export class OSReleases {
  readonly #workers: NamespaceWorkers
  readonly #memories = new Map<Machine, Memory>()

  constructor(machines: Machines, workers: NamespaceWorkers) {
    this.#workers = workers
    machines.on('removed', (machine) => {
      this.#forget(machine)
    })
  }

  /**
   * The assignments of a machine's file, in its order. Throws NotSupported for a VM; ENOENT where there is no such file,
   * EFBIG, EINVAL for what is none, ETIMEDOUT, EBUSY.
   */
  async of(machine: Machine): Promise<Fields> {
    try {
      if (machine.class === 'host') return readOfHost()
      const leader = leaderOfContainer(machine, 'Requesting OS release data')
      return this.#memories.get(machine)?.fields ?? (await this.#read(machine, leader))
    } catch (error) {
      throw explain('Failed to get OS release', error)
    }
  }

  async #read(machine: Machine, leader: PidRef): Promise<Fields> {
    this.#forget(machine)
    // From before the thread looks, lest a change in between is missed.
    const memory = new Memory(leader)
    this.#memories.set(machine, memory)
    try {
      const { canKeep: keep } = memory
      const release = await this.#workers.run(machine, { leader }, 'readOSRelease', { keep })
      memory.keep(release)
      return release.fields
    } catch (error) {
      if (this.#memories.get(machine) === memory) this.#forget(machine)
      throw error
    }
  }

  #forget(machine: Machine): void {
    this.#memories.get(machine)?.[Symbol.dispose]()
    this.#memories.delete(machine)
  }
}

/** What was read of a machine, and all by which it is known to be so still. */
class Memory {
  #standpoint: Standpoint | undefined
  #release: OSRelease | undefined

  constructor(leader: PidRef) {
    this.#standpoint = Standpoint.of(leader)
  }

  /** Whether anything can be remembered of where the machine is. */
  get canKeep(): boolean {
    return this.#standpoint !== undefined
  }

  /** Remembers what can be remembered; the descriptors in it are ours from here on. */
  keep(release: OSRelease): void {
    this.#release = release
    const { sight } = release
    if (sight === undefined || isBig(release.fields) || this.#standpoint?.isWaitless(sight.mount) !== true)
      this[Symbol.dispose]()
  }

  /** What was read, while it is known to be so still. */
  get fields(): Fields | undefined {
    const { sight, fields } = this.#release ?? {}
    if (sight === undefined || this.#standpoint?.isSame() !== true) return undefined
    return isUnchanged(sight) ? fields : undefined
  }

  [Symbol.dispose](): void {
    this.#standpoint?.[Symbol.dispose]()
    if (this.#release?.sight !== undefined) closeSight(this.#release.sight)
    this.#standpoint = this.#release = undefined
  }
}

function isBig(fields: Fields): boolean {
  return fields.reduce((length, [name, value]) => length + name.length + value.length, 0) > KEPT_LIMIT
}

function readOfHost(): [string, string][] {
  const read = (path: string): string => readFileBounded(path, OS_RELEASE_LIMIT)
  const override = process.env['SYSTEMD_OS_RELEASE']
  const text = override === undefined ? firstOf((path) => read(`/${path}`)) : read(override)
  return parseOSRelease(text)
}

import { mkdirSync, readdirSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { isSystemError } from '../base/errors.ts'
import { formatValue, parse } from '../linux/env-file.ts'
import { readFileBounded, writeFileAtomically } from '../linux/file.ts'
import { entryOf, tryUnlinkAt } from '../linux/file-at.ts'
import { PidRef } from '../linux/process.ts'
import { randomHex } from '../linux/random.ts'
import { isValidMachineName } from './machine-name.ts'
import { Machine, type MachineClass } from './machine.ts'

/** More than any client can register; a larger file is not ours. */
const LIMIT = 1024 * 1024

/** The files by which other programs, and our next incarnation, know the machines (spec/dbus.md 2). */
export class StateDirectory {
  readonly path: string
  /** What was read for a machine that was not saved since: mostly, taking it up changes nothing. */
  readonly #loaded = new WeakMap<Machine, string>()
  /** Whose `unit:` link is known to be theirs, as we have made or seen it. */
  readonly #linked = new WeakSet<Machine>()

  constructor(path: string) {
    this.path = path
    mkdirSync(path, { recursive: true, mode: 0o755 })
  }

  /** Writes the machine's file and, if it has a unit to itself, the `unit:` link. Throws what fs throws. */
  save(machine: Machine): void {
    const text = formatState(machine)
    if (this.#loaded.get(machine) !== text) writeFileAtomically(join(this.path, machine.name), text, 0o644)
    const wasRead = this.#loaded.delete(machine)
    if (!machine.ownsUnit || this.#linked.has(machine)) return
    // That of a machine that was read is there already, and to make what is there costs an error.
    if (!wasRead || this.#linkTarget(machine.unit) !== machine.name) this.#linkUnit(machine)
    this.#linked.add(machine)
  }

  /** Removes link and file; that they are gone already is no error. */
  remove(machine: Machine): void {
    if (this.#linked.delete(machine)) tryUnlinkAt(entryOf(this.#linkPath(machine.unit)))
    tryUnlinkAt(entryOf(join(this.path, machine.name)))
  }

  /** Names of all machines with a file. Takes away what a write left behind that was cut short by our end. */
  list(): string[] {
    const entries = readdirSync(this.path, { withFileTypes: true })
    const torn = entries.filter((entry) => !entry.isDirectory() && entry.name.startsWith('.#'))
    for (const { name } of torn) rmSync(join(this.path, name), { force: true })
    return entries.filter((entry) => entry.isFile() && isValidMachineName(entry.name)).map((entry) => entry.name)
  }

  /** Reads one machine back. Throws if the file cannot be read or says another name. */
  load(name: string): Machine {
    const text = readFileBounded(join(this.path, name), LIMIT)
    const machine = parseState(name, text)
    this.#loaded.set(machine, text)
    return machine
  }

  #linkPath(unit: string): string {
    return join(this.path, `unit:${unit}`)
  }

  #linkTarget(unit: string): string | undefined {
    try {
      return readlinkSync(this.#linkPath(unit))
    } catch {
      return undefined
    }
  }

  #linkUnit(machine: Machine): void {
    const path = this.#linkPath(machine.unit)
    try {
      symlinkSync(machine.name, path)
    } catch (error) {
      if (!isSystemError(error) || error.code !== 'EEXIST') throw error
      const temporary = join(this.path, `.#${machine.name}${randomHex(8)}`)
      symlinkSync(machine.name, temporary)
      renameSync(temporary, path)
    }
  }
}

/** The content of a state file, in the stock daemon's order; SUBGROUP and STOPPING are what it forgets. */
export function formatState(machine: Machine): string {
  const { leader, supervisor, ...registration } = machine.registration
  const lines: [key: string, value: string | false][] = [
    ['NAME', machine.name],
    ['UID', String(registration.owner)],
    ['SCOPE', quoted(machine.unit)],
    ['SUBGROUP', quoted(machine.subgroup)],
    ['SCOPE_JOB', quoted(machine.scopeJob)],
    ['STOPPING', machine.stopping && 'yes'],
    ['SERVICE', quoted(registration.service)],
    ['ROOT', quoted(registration.rootDirectory)],
    ['ID', registration.id.toString('hex')],
    ...processLines('LEADER', leader),
    ...processLines('SUPERVISOR', supervisor),
    ['CLASS', machine.class],
    ['REALTIME', machine.realtime !== 0n && String(machine.realtime)],
    ['MONOTONIC', machine.monotonic !== 0n && String(machine.monotonic)],
    ['NETIF', registration.networkInterfaces.length > 0 && `" ${registration.networkInterfaces.join(' ')}"`],
    ['VSOCK_CID', registration.vsockCid !== 0 && String(registration.vsockCid)],
    ['SSH_ADDRESS', quoted(registration.sshAddress)],
    ['SSH_PRIVATE_KEY_PATH', quoted(registration.sshPrivateKeyPath)],
    ['CONTROL_ADDRESS', quoted(machine.controlAddress)]
  ]
  const written = lines.filter(([, value]) => value !== false && value !== '')
  return `# This is private data. Do not parse.\n${written.map(([key, value]) => `${key}=${String(value)}\n`).join('')}`
}

/** The machine that a state file of any version since 252 describes; every key but NAME may be missing. */
export function parseState(name: string, text: string): Machine {
  const state = parse(text)
  if (state.get('NAME') !== name) throw new Error(`State file of machine '${name}' does not carry its name`)
  const value = (key: string): string => state.get(key) ?? ''
  const machine = new Machine({
    name,
    class: machineClass(value('CLASS')),
    owner: unsigned(value('UID')),
    id: /^[0-9a-f]{32}$/.test(value('ID')) ? Buffer.from(value('ID'), 'hex') : Buffer.alloc(0),
    service: value('SERVICE'),
    rootDirectory: value('ROOT'),
    networkInterfaces: value('NETIF')
      .split(/\s+/)
      .map(unsigned)
      .filter((index) => index > 0),
    vsockCid: unsigned(value('VSOCK_CID')) || 0xffffffff,
    sshAddress: value('SSH_ADDRESS'),
    sshPrivateKeyPath: value('SSH_PRIVATE_KEY_PATH'),
    leader: pinned(value('LEADER'), value('LEADER_PIDFDID')),
    supervisor: pinned(value('SUPERVISOR'), value('SUPERVISOR_PIDFDID'))
  })
  machine.unit = value('SCOPE')
  machine.subgroup = value('SUBGROUP')
  machine.scopeJob = value('SCOPE_JOB')
  machine.stopping = value('STOPPING') === 'yes'
  machine.realtime = BigInt(unsigned(value('REALTIME')))
  machine.monotonic = BigInt(unsigned(value('MONOTONIC')))
  machine.controlAddress = value('CONTROL_ADDRESS')
  return machine
}

function machineClass(text: string): MachineClass {
  if (text !== 'vm' && text !== 'container' && text !== '') throw new Error(`Unknown machine class '${text}'`)
  return text || 'container'
}

function quoted(value: string): string {
  return value === '' ? '' : formatValue(value)
}

function unsigned(text: string): number {
  return /^\d{1,16}$/.test(text) ? Number(text) : 0
}

function processLines(key: string, process: PidRef | undefined): [string, string | false][] {
  if (process === undefined) return []
  return [
    [key, String(process.pid)],
    [`${key}_PIDFDID`, process.pidfdId !== 0n && String(process.pidfdId)]
  ]
}

/** The process of a stored PID, unless it is gone or its PID now belongs to another one. */
function pinned(pid: string, pidfdId: string): PidRef | undefined {
  if (unsigned(pid) <= 1) return undefined
  try {
    const process = PidRef.pin(unsigned(pid))
    if (!/^\d+$/.test(pidfdId) || process.pidfdId === BigInt(pidfdId)) return process
    process.close()
  } catch {
    // Gone: the same as a leader that was never there.
  }
  return undefined
}

import { explain, isSystemError, MachinedError, systemError } from '../../base/errors.ts'
import type { Variant } from '../../bus/client-bus.ts'
import { PidRef } from '../../linux/process.ts'
import { isValidMachineName } from '../../machine/machine-name.ts'
import { NO_VSOCK_CID, type MachineClass, type Registration } from '../../machine/machine.ts'
import { closeRegistration, identifyProcesses } from '../take-in.ts'
import type { Caller } from './table.ts'

const ID_BYTES = 16
const PATH_MAX = 4096
const ENXIO = 6
const ESRCH = 3
const ENOTTY = 25
const BAD_ID = 'Invalid machine ID parameter'

/** What every registering method tells us about the machine, before its processes are pinned. */
interface Description {
  name: string
  id: Buffer
  service: string
  class: MachineClass
  rootDirectory: string
  networkInterfaces: number[]
  vsockCid: number
  sshAddress: string
  sshPrivateKeyPath: string
}

/** The arguments of the methods with a fixed signature. */
export interface FixedArguments {
  readonly name: string
  readonly id: Buffer
  readonly service: string
  readonly class: string
  readonly leader: number
  readonly root_directory: string
  readonly ifindices?: readonly number[]
}

/** Checks a fixed-signature registration and pins its processes (spec/dbus.md 3.5.1). Throws InvalidArgs. */
export async function readFixedRegistration(args: FixedArguments, caller: Caller): Promise<Registration> {
  const description: Description = {
    name: validName(args.name),
    id: validId(args.id),
    service: args.service,
    networkInterfaces: validInterfaces(args.ifindices ?? []),
    class: validClass(args.class),
    rootDirectory: '',
    vsockCid: NO_VSOCK_CID,
    sshAddress: '',
    sshPrivateKeyPath: ''
  }
  if (args.leader === 1) throw invalid('Invalid leader PID')
  description.rootDirectory = validRoot(args.root_directory)
  return withProcesses(description, args.leader === 0 ? undefined : pin(args.leader), caller)
}

/** Checks a registration given as properties and pins its processes (spec/dbus.md 3.5.2). Throws InvalidArgs. */
export async function readRegistration(
  name: string,
  properties: readonly (readonly [string, Variant])[],
  caller: Caller
): Promise<Registration> {
  validName(name)
  const given = readProperties(properties)
  const value = <T>(key: string, absent: T): T => (given.get(key) as T | undefined) ?? absent
  const description: Description = {
    name,
    id: value('Id', Buffer.alloc(0)),
    service: value('Service', ''),
    networkInterfaces: value<number[]>('NetworkInterfaces', []),
    vsockCid: value('VSockCID', NO_VSOCK_CID),
    sshAddress: value('SSHAddress', ''),
    sshPrivateKeyPath: value('SSHPrivateKeyPath', ''),
    class: validClass(value('Class', '')),
    rootDirectory: validRoot(value('RootDirectory', ''))
  }
  const leader = explicitLeader(value('LeaderPIDFD', -1), value('LeaderPID', 0), value('LeaderPIDFDID', 0n))
  return withProcesses(description, leader, caller)
}

/** The properties that can be given: their types, and what is checked when they are read. */
const PROPERTIES: Readonly<Record<string, readonly [type: string, check?: (value: never) => unknown]>> = {
  Id: ['ay', validId],
  Service: ['s'],
  Class: ['s'],
  LeaderPID: ['u'],
  LeaderPIDFD: ['h'],
  LeaderPIDFDID: ['t'],
  RootDirectory: ['s'],
  NetworkInterfaces: ['ai', validInterfaces],
  VSockCID: ['u', validCid],
  SSHAddress: ['s'],
  SSHPrivateKeyPath: ['s']
}

/** Reads one after the other, so that of several bad ones the first is reported; of equal names the last one counts. */
function readProperties(properties: readonly (readonly [string, Variant])[]): Map<string, unknown> {
  const given = new Map<string, unknown>()
  for (const [key, { signature, value }] of properties) {
    const [type, check] = (Object.hasOwn(PROPERTIES, key) ? PROPERTIES[key] : undefined) ?? []
    if (type === undefined) throw invalid(`Unknown property '${key}'`)
    if (type !== signature) throw key === 'Id' ? invalid(BAD_ID) : systemError(ENXIO, 'read')
    given.set(key, check === undefined ? value : check(value as never))
  }
  return given
}

/** The sender is leader where none was named, and supervisor where it is another process. */
async function withProcesses(
  description: Description,
  named: PidRef | undefined,
  caller: Caller
): Promise<Registration> {
  const registration = { ...description, ...(await identifyProcesses(named, caller)) }
  const { leader, supervisor } = registration
  if (leader.pid === 1 || supervisor?.pid === 1) {
    closeRegistration(registration)
    throw invalid(leader.pid === 1 ? 'Invalid leader PID' : 'Invalid supervisor PID')
  }
  return registration
}

function explicitLeader(pidfd: number, pid: number, pidfdId: bigint): PidRef | undefined {
  if (pidfd >= 0) return leaderOfPidfd(pidfd, pid, pidfdId)
  if (pid > 0 && pidfdId > 0n) {
    const leader = pin(pid, ` by PIDFDID ${String(pidfdId)}`)
    if (leader.pidfdId === pidfdId) return leader
    leader.close()
    throw cannotPin(pid, ` by PIDFDID ${String(pidfdId)}`, systemError(ESRCH, 'pidfd_open'))
  }
  if (pid > 0 || pidfdId > 0n) {
    throw invalid('Both LeaderPID and LeaderPIDFDID must be specified to identify the leader process by PIDFDID')
  }
  return undefined
}

function leaderOfPidfd(pidfd: number, pid: number, pidfdId: bigint): PidRef {
  let leader: PidRef
  try {
    leader = PidRef.fromPidfd(pidfd)
  } catch (error) {
    // What the kernel says when another kind of descriptor is asked for its process.
    const cause = isSystemError(error) && error.code === 'EBADF' ? systemError(ENOTTY, 'ioctl') : error
    throw explain(`Failed to parse PIDFD ${String(pidfd)}`, cause)
  }
  const mismatch =
    pid > 0 && leader.pid !== pid
      ? 'LeaderPID and LeaderPIDFD refer to different processes'
      : pidfdId > 0n && leader.pidfdId > 0n && leader.pidfdId !== pidfdId
        ? 'LeaderPIDFDID does not match the inode number of LeaderPIDFD'
        : undefined
  if (mismatch === undefined) return leader
  leader.close()
  throw invalid(mismatch)
}

function pin(pid: number, by = ''): PidRef {
  try {
    return PidRef.pin(pid)
  } catch (error) {
    throw cannotPin(pid, by, error)
  }
}

/** A PID has a sign, as clients see it. */
function cannotPin(pid: number, by: string, error: unknown): unknown {
  return explain(`Failed to pin process ${String(pid | 0)}${by}`, error)
}

function invalid(message: string): MachinedError {
  return new MachinedError('InvalidArgs', message)
}

function validName(name: string): string {
  if (!isValidMachineName(name)) throw invalid('Invalid machine name')
  return name
}

function validId(id: Buffer): Buffer {
  if (id.length !== 0 && id.length !== ID_BYTES) throw invalid(BAD_ID)
  return id.every((byte) => byte === 0) ? Buffer.alloc(0) : Buffer.from(id)
}

function validInterfaces(indices: readonly number[]): number[] {
  const bad = indices.find((index) => index <= 0)
  if (bad !== undefined) throw invalid(`Invalid network interface index ${String(bad)}`)
  return [...indices]
}

function validClass(name: string): MachineClass {
  if (name !== 'container' && name !== 'vm') throw invalid('Invalid machine class parameter')
  return name
}

function validRoot(path: string): string {
  const valid = path.startsWith('/') && path.length < PATH_MAX && path.split('/').every((part) => part.length <= 255)
  if (path !== '' && !valid) throw invalid('Root directory must be empty or an absolute path')
  return path
}

function validCid(cid: number): number {
  if (cid <= 2 || cid >= NO_VSOCK_CID) throw invalid('VSockCID is not a regular VSOCK CID')
  return cid
}

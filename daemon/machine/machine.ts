import { constants as os } from 'node:os'
import { MachinedError, systemError } from '../base/errors.ts'
import type { PidRef } from '../linux/process.ts'

export type MachineClass = 'container' | 'vm' | 'host'
export type MachineState = 'opening' | 'running' | 'closing'

/** "No VSOCK CID": VMADDR_CID_ANY. */
export const NO_VSOCK_CID = 0xffffffff

/** What a client tells us when it creates or registers a machine (spec/dbus.md 3.5). Empty strings mean unset. */
export interface Registration {
  readonly name: string
  readonly class: MachineClass
  /** UID of the registering client. */
  readonly owner: number
  /** 16 bytes, or none. */
  readonly id: Buffer
  readonly service: string
  readonly rootDirectory: string
  readonly networkInterfaces: readonly number[]
  readonly vsockCid: number
  readonly sshAddress: string
  readonly sshPrivateKeyPath: string
  /** Owned by the machine from here on; undefined only for a restored machine whose leader is gone. */
  readonly leader: PidRef | undefined
  readonly supervisor: PidRef | undefined
}

/** One tracked container or VM, or the host itself. */
export class Machine {
  readonly registration: Registration
  readonly name: string
  readonly class: MachineClass
  /** Unit that holds the leader; "" until known. */
  unit = ''
  /** The leader's cgroup below the unit's; "" when the unit belongs to this machine alone. */
  subgroup = ''
  /** Object path of the start or stop job of our scope. */
  scopeJob = ''
  /** Microseconds since the epoch; 0n until started. */
  realtime = 0n
  monotonic = 0n
  controlAddress = ''
  started = false
  stopping = false
  /** Whether this daemon holds a reference on the scope (AddRef), to be dropped in the end. */
  referenced = false

  constructor(registration: Registration) {
    this.registration = registration
    this.name = registration.name
    this.class = registration.class
  }

  /** spec/dbus.md 4.3 */
  get state(): MachineState {
    if (this.class === 'host') return 'running'
    if (this.stopping) return 'closing'
    return this.scopeJob === '' ? 'running' : 'opening'
  }

  /** Whether the unit belongs to this machine alone, so that stopping it stops just the machine. */
  get ownsUnit(): boolean {
    return this.unit !== '' && this.subgroup === ''
  }

  get leaderAlive(): boolean {
    return this.registration.leader?.isAlive() ?? false
  }
}

/**
 * The process by which one gets into a container. Throws NotSupported for other classes of machines, with a text that
 * begins with `what`; ESRCH when the leader is not known any more.
 */
export function leaderOfContainer(machine: Machine, what: string): PidRef {
  if (machine.class !== 'container') {
    throw new MachinedError('NotSupported', `${what} is only supported on container machines.`)
  }
  const { leader } = machine.registration
  if (leader === undefined) throw systemError(os.errno.ESRCH, 'pidfd_open')
  return leader
}

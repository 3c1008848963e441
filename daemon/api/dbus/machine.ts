import { systemError } from '../../base/errors.ts'
import { uidShiftOf } from '../../machine/id-mapping.ts'
import { checkSignal, kill, parseWhom } from '../../machine/kill.ts'
import type { Machine } from '../../machine/machine.ts'
import { withErrnoOfServiceManager } from '../error-replies.ts'
import { manageRule, type MachineTarget } from '../machine-access.ts'
import { bindMount } from './machine-binds.ts'
import { copyFrom, copyFromWithFlags, copyTo, copyToWithFlags } from './machine-copies.ts'
import { getAddresses, getOSRelease, openRootDirectory } from './machine-inspection.ts'
import { openLogin, openPTY, openShell } from './machine-terminals.ts'
import { method, type Access, type InterfaceTable, type PropertyRow } from './table.ts'

const ENOENT = 2

export type { MachineTarget } from '../machine-access.ts'

/** Acting on a machine is for its owner and for whom polkit lets; `check` looks at the arguments (spec/dbus.md 3.6). */
export function manageMachine<A>(
  verb: string,
  check: (args: A) => void = () => undefined
): Access<MachineTarget, A, 'manage-machines'> {
  return {
    actions: ['manage-machines'],
    rule: ({ machine }, args) => {
      check(args)
      return manageRule(machine, verb)
    }
  }
}

async function withErrno(work: Promise<void>): Promise<[]> {
  await withErrnoOfServiceManager(work)
  return []
}

export const terminateMachine = method({
  in: {},
  out: {},
  access: manageMachine('terminate'),
  run: ({ manager, machine }: MachineTarget) => withErrno(manager.machines.stop(machine))
})

export const killMachine = method({
  in: { whom: 's', signal: 'i' },
  out: {},
  access: manageMachine('kill', ({ whom, signal }: { whom: string; signal: number }) => {
    parseWhom(whom)
    checkSignal(signal)
  }),
  run: ({ manager, machine }: MachineTarget, { whom, signal }) =>
    withErrno(kill(manager.systemd, machine, parseWhom(whom), signal))
})

export const getSSHInfo = method({
  in: {},
  out: { ssh_address: 's', ssh_private_key_path: 's' },
  access: 'anyone',
  run: ({ machine }: MachineTarget) => {
    const { sshAddress, sshPrivateKeyPath } = machine.registration
    if (sshAddress === '' || sshPrivateKeyPath === '') throw systemError(ENOENT, 'getsshinfo')
    return [sshAddress, sshPrivateKeyPath]
  }
})

export const getUIDShift = method({
  in: {},
  out: { shift: 'u' },
  access: 'anyone',
  run: ({ machine }: MachineTarget) => [uidShiftOf(machine)]
})

function constant(
  type: PropertyRow<MachineTarget>['type'],
  get: (machine: Machine) => unknown
): PropertyRow<MachineTarget> {
  return { type, emits: 'const', get: ({ machine }) => get(machine) }
}

/** `org.freedesktop.machine1.Machine` (spec/dbus.md 4). */
export const machineTable: InterfaceTable<MachineTarget> = {
  name: 'org.freedesktop.machine1.Machine',
  properties: {
    Name: constant('s', (machine) => machine.name),
    Id: constant('ay', (machine) => machine.registration.id),
    Timestamp: constant('t', (machine) => machine.realtime),
    TimestampMonotonic: constant('t', (machine) => machine.monotonic),
    Service: constant('s', (machine) => machine.registration.service),
    Unit: constant('s', (machine) => machine.unit),
    Scope: { ...constant('s', (machine) => machine.unit), hidden: true },
    Subgroup: constant('s', (machine) => machine.subgroup),
    Leader: constant('u', (machine) => machine.registration.leader?.pid ?? 0),
    LeaderPIDFDId: constant('t', (machine) => machine.registration.leader?.pidfdId ?? 0n),
    Supervisor: constant('u', (machine) => machine.registration.supervisor?.pid ?? 0),
    SupervisorPIDFDId: constant('t', (machine) => machine.registration.supervisor?.pidfdId ?? 0n),
    Class: constant('s', (machine) => machine.class),
    RootDirectory: constant('s', (machine) => machine.registration.rootDirectory),
    NetworkInterfaces: constant('ai', (machine) => machine.registration.networkInterfaces),
    VSockCID: constant('u', (machine) => machine.registration.vsockCid),
    SSHAddress: constant('s', (machine) => machine.registration.sshAddress),
    SSHPrivateKeyPath: constant('s', (machine) => machine.registration.sshPrivateKeyPath),
    State: { type: 's', emits: 'false', get: ({ machine }) => machine.state },
    UID: constant('u', (machine) => machine.registration.owner)
  },
  methods: {
    Terminate: terminateMachine,
    Kill: killMachine,
    GetAddresses: getAddresses,
    GetSSHInfo: getSSHInfo,
    GetOSRelease: getOSRelease,
    GetUIDShift: getUIDShift,
    OpenPTY: openPTY,
    OpenLogin: openLogin,
    OpenShell: openShell,
    BindMount: bindMount,
    CopyFrom: copyFrom,
    CopyTo: copyTo,
    CopyFromWithFlags: copyFromWithFlags,
    CopyToWithFlags: copyToWithFlags,
    OpenRootDirectory: openRootDirectory
  },
  signals: {}
}

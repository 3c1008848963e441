import { MachinedError } from '../../base/errors.ts'
import { isSystemError } from '../../base/errors.ts'
import type { PidRef } from '../../linux/process.ts'
import { NO_VSOCK_CID, type Machine, type Registration } from '../../machine/machine.ts'
import type { Manager } from '../../manager.ts'
import { closeRegistration, identifyProcesses, takeIn } from '../take-in.ts'
import { isPrivileged } from '../authorize.ts'
import type { Call } from './call.ts'
import { invalidParameter } from './errors.ts'
import {
  integers,
  interactiveAuthentication,
  processIdType,
  readAbsolutePath,
  readBoolean,
  readId,
  readInterfaces,
  readMachineName,
  readNumber,
  readPath,
  readPid,
  readPrintable,
  readProcessId,
  readString,
  type ProcessId
} from './fields.ts'
import { machineClass } from './machine-types.ts'
import { BadValue, boolean, integer, method, needed, optional, string, type ValuesOf } from './schema.ts'
import { pinProcess } from './selector.ts'

const FIRST_CID = 3
const ignored = 'Ignored: the supervisor is always the calling process, when that is not the leader.'

const parameters = {
  name: needed(string, 'A host name that no registered machine has.', readMachineName),
  id: optional(string, 'The 128 bit machine ID, in hexadecimal or as a UUID.', readId),
  service: optional(string, 'The software that runs the machine, such as `systemd-nspawn`.', readString),
  class: needed(machineClass, 'What kind of machine it is: container or vm.', (value) => {
    if (value !== 'container' && value !== 'vm') throw new BadValue()
    return value
  }),
  leader: optional(integer, 'The PID of the leader. Of this and leaderProcessId one is enough.', readPid),
  leaderProcessId: optional(
    processIdType,
    'The leader, which cannot be mistaken for another process this way. If neither is given, it is the calling process.',
    readProcessId
  ),
  supervisor: optional(integer, ignored, () => undefined),
  supervisorProcessId: optional(processIdType, ignored, () => undefined),
  rootDirectory: optional(string, "The machine's root directory as this system sees it.", readPath),
  ifIndices: optional(
    integers,
    'Network interfaces of this system that lead to the machine, by index.',
    readInterfaces
  ),
  vSockCid: optional(integer, "The machine's AF_VSOCK address.", (value) =>
    readNumber(value, FIRST_CID, NO_VSOCK_CID - 1)
  ),
  sshAddress: optional(string, 'Where its SSH server is reached, as ssh takes it.', readPrintable),
  sshPrivateKeyPath: optional(string, 'The file of the private key to log in with.', readAbsolutePath),
  controlAddress: optional(
    string,
    'A Varlink socket by which the machine is controlled. Who listens there should serve io.systemd.MachineInstance.',
    readPath
  ),
  allocateUnit: optional(
    boolean,
    'Whether to make a scope unit around the leader. If not, it has to be in a unit of its own already.',
    readBoolean
  ),
  allowInteractiveAuthentication: interactiveAuthentication
}

type Given = ValuesOf<typeof parameters>

/** `io.systemd.Machine.Register` (spec/varlink-and-clients.md A7). */
export const register = method({
  doc: 'Registers a machine that is running. It is there, and in the unit it will stay in, once this is answered.',
  in: parameters,
  out: {},
  access: {
    actions: ['create-machine', 'register-machine'],
    rule: async (_: Manager, given, call) => {
      // Who need not be asked about is not kept waiting for a second look at the processes.
      if (!isPrivileged(call.uid())) closeRegistration(await readRegistration(given, call))
      const action = given.allocateUnit === true ? 'create-machine' : 'register-machine'
      return { action, details: { name: given.name, class: given.class } }
    }
  },
  run: async (manager, given, call, grant) => {
    const registration = await readRegistration(given, call)
    const { known } = await takeIn(manager, registration, grant, (machine) => track(manager, machine, given))
    if (known) throw new MachinedError('MachineExists', `Machine '${given.name}' already exists`)
    return {}
  }
})

function track({ machines }: Manager, machine: Machine, given: Given): Promise<void> | void {
  machine.controlAddress = given.controlAddress ?? ''
  if (given.allocateUnit === true) return machines.create(machine, [])
  machines.register(machine)
}

async function readRegistration(given: Given, call: Call): Promise<Registration> {
  const processes = await identifyProcesses(namedLeader(given), call)
  if (processes.leader.pid === 1) {
    closeRegistration(processes)
    throw invalidParameter('leader')
  }
  return {
    name: given.name,
    class: given.class,
    id: given.id?.some((byte) => byte !== 0) === true ? given.id : Buffer.alloc(0),
    service: given.service ?? '',
    rootDirectory: given.rootDirectory ?? '',
    networkInterfaces: given.ifIndices ?? [],
    vsockCid: given.vSockCid ?? NO_VSOCK_CID,
    sshAddress: given.sshAddress ?? '',
    sshPrivateKeyPath: given.sshPrivateKeyPath ?? '',
    ...processes
  }
}

function namedLeader({ leader, leaderProcessId }: Given): PidRef | undefined {
  const byPid = leader === undefined ? undefined : pinLeader({ pid: leader }, 'leader')
  if (leaderProcessId === undefined) return byPid
  try {
    const byId = pinLeader(leaderProcessId, 'leaderProcessId')
    if (byPid === undefined || byPid.equals(byId)) return byId
    byId.close()
    throw invalidParameter('leaderProcessId')
  } finally {
    byPid?.close()
  }
}

function pinLeader(id: Partial<ProcessId> & { readonly pid: number }, parameter: string): PidRef {
  if (id.pid <= 1) throw invalidParameter(parameter)
  try {
    return pinProcess({ pidfdId: undefined, bootId: undefined, ...id })
  } catch (error) {
    throw isSystemError(error) && error.code === 'ESRCH' ? invalidParameter(parameter) : error
  }
}

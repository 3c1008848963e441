import type { Variant } from '../../bus/client-bus.ts'
import { EncodedStruct } from '../../bus/codec.ts'
import { MachinedError, systemError } from '../../base/errors.ts'
import type { Manager } from '../../manager.ts'
import { findMachineOfProcess } from '../../machine/find-process.ts'
import { checkId, idInMachine, idOnHost, type IdKind } from '../../machine/id-mapping.ts'
import type { Machine, Registration } from '../../machine/machine.ts'
import { getSSHInfo, getUIDShift, killMachine, manageMachine, terminateMachine } from './machine.ts'
import { bindMount } from './machine-binds.ts'
import { copyFrom, copyFromWithFlags, copyTo, copyToWithFlags } from './machine-copies.ts'
import * as images from './image.ts'
import * as changes from './image-changes.ts'
import { getAddresses, getOSRelease, openRootDirectory } from './machine-inspection.ts'
import { openLogin, openPTY, openShell } from './machine-terminals.ts'
import type { ActionName } from '../polkit-actions.ts'
import { escapeLabel, MANAGER_PATH } from './object-path.ts'
import { cleanPool, poolProperties, setPoolLimit } from './pool.ts'
import type { MachineTarget } from '../machine-access.ts'
import { closeRegistration, refuseTakenName, takeIn } from '../take-in.ts'
import { readFixedRegistration, readRegistration } from './registration.ts'
import { method, type Args, type Caller, type Grant, type InterfaceTable, type MethodRow, type Shape } from './table.ts'

export const MACHINE_PREFIX = `${MANAGER_PATH}/machine`
const EINVAL = 22
const PID_MAX = 0x7fffffff

/** The object path of a machine. */
export function machinePath(name: string): string {
  return `${MACHINE_PREFIX}/${escapeLabel(name)}`
}

const getMachine = method({
  in: { name: 's' },
  out: { machine: 'o' },
  access: 'anyone',
  run: (manager: Manager, { name }) => [machinePath(manager.machines.get(name).name)]
})

const getMachineByPID = method({
  in: { pid: 'u' },
  out: { machine: 'o' },
  access: 'anyone',
  run: async (manager: Manager, { pid }, caller) => {
    if (pid > PID_MAX) throw systemError(EINVAL, 'getpid')
    const machine = pid === 0 ? await machineOfCaller(manager, caller) : findMachineOfProcess(manager.machines, pid)
    if (machine !== undefined) return [machinePath(machine.name)]
    throw new MachinedError('NoMachineForPID', `PID ${String(pid)} does not belong to any known machine`)
  }
})

/** The machine that the sender of a call lives in. */
export async function machineOfCaller(manager: Manager, caller: Caller): Promise<Machine | undefined> {
  const process = await caller.pin()
  try {
    return findMachineOfProcess(manager.machines, process.pid, process)
  } finally {
    process.close()
  }
}

const listMachines = method({
  in: {},
  out: { machines: 'a(ssso)' },
  access: 'anyone',
  run: (manager: Manager) => [Array.from(manager.machines.all(), rowOf)]
})

/** Nothing in a row ever changes, and encoding it takes many times as long as copying it. */
const rows = new WeakMap<Machine, EncodedStruct>()

function rowOf(machine: Machine): EncodedStruct {
  let row = rows.get(machine)
  if (row === undefined) {
    const { name, registration } = machine
    row = EncodedStruct.of('(ssso)', [name, machine.class, registration.service, machinePath(name)])
    rows.set(machine, row)
  }
  return row
}

type Read<In> = (args: In, caller: Caller) => Promise<Registration>
type Track = (manager: Manager, machine: Machine, properties: [string, Variant][]) => Promise<void> | void

const register: Track = ({ machines }, machine) => {
  machines.register(machine)
}
const create: Track = ({ machines }, machine, properties) => machines.create(machine, properties)

/** A registering method: what it is told (`read`), what it asks polkit, and whether it makes a scope (`track`). */
function registering(action: ActionName, shape: Shape, read: Read<Args>, track: Track): MethodRow<Manager> {
  return method({
    in: shape,
    out: { path: 'o' },
    access: {
      actions: [action],
      rule: async (manager: Manager, args: Args, caller: Caller) => {
        const registration = await read(args, caller)
        try {
          await refuseTakenName(manager, registration)
        } finally {
          closeRegistration(registration)
        }
        return { action, details: { name: registration.name, class: registration.class } }
      }
    },
    run: async (manager: Manager, args: Args, caller: Caller, grant: Grant) => {
      const registration = await read(args, caller)
      const properties = (args['scope_properties'] ?? []) as [string, Variant][]
      const { machine } = await takeIn(manager, registration, grant, (added) => track(manager, added, properties))
      return [machinePath(machine.name)]
    }
  })
}

const fixed: Read<Args> = (args, caller) =>
  readFixedRegistration(args as unknown as Parameters<typeof readFixedRegistration>[0], caller)
const extended: Read<Args> = (args, caller) =>
  readRegistration(args['name'] as string, args['properties'] as [string, Variant][], caller)

const identity = { name: 's', id: 'ay', service: 's', class: 's', leader: 'u', root_directory: 's' } as const
const scope = { scope_properties: 'a(sv)' } as const

/** A method of the machine object, offered on the manager under the machine's name. */
function byName(row: MethodRow<MachineTarget>, key = 'name'): MethodRow<Manager> {
  const target = (manager: Manager, args: Args): MachineTarget => ({
    manager,
    machine: manager.machines.get(args[key] as string)
  })
  const { access, run } = row
  return {
    in: { [key]: 's', ...row.in },
    out: row.out,
    access:
      access === 'anyone'
        ? access
        : { ...access, rule: (manager, args, caller) => access.rule(target(manager, args), args, caller) },
    run: (manager, args, caller, grant) => run(target(manager, args), args, caller, grant)
  }
}

const unregister = method({
  in: {},
  out: {},
  access: manageMachine('unregister'),
  run: ({ manager, machine }: MachineTarget) => {
    manager.machines.unregister(machine)
    return []
  }
})

function mapFromMachine(kind: IdKind): MethodRow<Manager> {
  return method({
    in: { name: 's', [`${kind}_inner`]: 'u' },
    out: { [`${kind}_outer`]: 'u' },
    access: 'anyone',
    run: ({ machines }: Manager, args: Args) => {
      const id = args[`${kind}_inner`] as number
      checkId(kind, id)
      return [idOnHost(machines.get(args['name'] as string), kind, id)]
    }
  })
}

function mapToMachine(kind: IdKind): MethodRow<Manager> {
  return method({
    in: { [`${kind}_outer`]: 'u' },
    out: { machine_name: 's', machine_path: 'o', [`${kind}_inner`]: 'u' },
    access: 'anyone',
    run: ({ machines }: Manager, args: Args) => {
      const outer = args[`${kind}_outer`] as number
      checkId(kind, outer)
      const { machine, id } = idInMachine(machines, kind, outer)
      return [machine.name, machinePath(machine.name), id]
    }
  })
}

/** `org.freedesktop.machine1.Manager` (spec/dbus.md 3), in the order that introspection shows. */
export const managerTable: InterfaceTable<Manager> = {
  name: 'org.freedesktop.machine1.Manager',
  properties: poolProperties,
  methods: {
    GetMachine: getMachine,
    GetImage: images.getImage,
    GetMachineByPID: getMachineByPID,
    ListMachines: listMachines,
    ListImages: images.listImages,
    CreateMachine: registering('create-machine', { ...identity, ...scope }, fixed, create),
    CreateMachineWithNetwork: registering('create-machine', { ...identity, ifindices: 'ai', ...scope }, fixed, create),
    CreateMachineEx: registering('create-machine', { name: 's', properties: 'a(sv)', ...scope }, extended, create),
    RegisterMachine: registering('register-machine', identity, fixed, register),
    RegisterMachineWithNetwork: registering('register-machine', { ...identity, ifindices: 'ai' }, fixed, register),
    RegisterMachineEx: registering('register-machine', { name: 's', properties: 'a(sv)' }, extended, register),
    UnregisterMachine: byName(unregister),
    TerminateMachine: byName(terminateMachine, 'id'),
    KillMachine: byName(killMachine),
    GetMachineAddresses: byName(getAddresses),
    GetMachineSSHInfo: byName(getSSHInfo),
    GetMachineOSRelease: byName(getOSRelease),
    OpenMachinePTY: byName(openPTY),
    OpenMachineLogin: byName(openLogin),
    OpenMachineShell: byName(openShell),
    BindMountMachine: byName(bindMount),
    CopyFromMachine: byName(copyFrom),
    CopyToMachine: byName(copyTo),
    CopyFromMachineWithFlags: byName(copyFromWithFlags),
    CopyToMachineWithFlags: byName(copyToWithFlags),
    OpenMachineRootDirectory: byName(openRootDirectory),
    GetMachineUIDShift: byName(getUIDShift),
    RemoveImage: images.byImageName(changes.removeImage),
    RenameImage: images.byImageName(changes.renameImage),
    CloneImage: images.byImageName(changes.cloneImage),
    MarkImageReadOnly: images.byImageName(changes.markImageReadOnly),
    GetImageHostname: images.getHostname.byName,
    GetImageMachineID: images.getMachineID.byName,
    GetImageMachineInfo: images.getMachineInfo.byName,
    GetImageOSRelease: images.getOSRelease.byName,
    SetPoolLimit: setPoolLimit,
    SetImageLimit: images.byImageName(changes.setImageLimit),
    CleanPool: cleanPool,
    MapFromMachineUser: mapFromMachine('uid'),
    MapToMachineUser: mapToMachine('uid'),
    MapFromMachineGroup: mapFromMachine('gid'),
    MapToMachineGroup: mapToMachine('gid')
  },
  signals: {
    MachineNew: { args: { machine: 's', path: 'o' } },
    MachineRemoved: { args: { machine: 's', path: 'o' } }
  }
}

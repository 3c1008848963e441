import { isSystemError, MachinedError } from '../../base/errors.ts'
import type { PidRef } from '../../linux/process.ts'
import { uidShiftOf } from '../../machine/id-mapping.ts'
import { NO_VSOCK_CID, type Machine } from '../../machine/machine.ts'
import type { Manager } from '../../manager.ts'
import { expectedMore, VarlinkError } from './errors.ts'
import { processIdType, readString, strings } from './fields.ts'
import { wide } from './json.ts'
import { acquireMetadata, address, machineClass, timestamp } from './machine-types.ts'
import { array, field, integer, maybe, method, optional, string, type MethodRow, type Output } from './schema.ts'
import { currentBootId, selectMachine, selector, type Selected } from './selector.ts'

const AF_INET = 2
const AF_INET6 = 10
const metadataNote = 'Only with metadata.'

const record = {
  name: field(string, 'Its name.'),
  id: maybe(string, 'Its 128 bit machine ID in hexadecimal.'),
  service: maybe(string, 'The software that registered it.'),
  class: field(machineClass, 'What kind of machine it is.'),
  leader: maybe(processIdType, "Its first process: a container's PID 1, or the virtual machine's process."),
  supervisor: maybe(processIdType, 'The process that registered it.'),
  rootDirectory: maybe(string, 'Its root directory as this system sees it.'),
  unit: maybe(string, 'The unit of the service manager that it lives in.'),
  timestamp: maybe(timestamp, 'When it was registered.'),
  vSockCid: maybe(integer, 'Its AF_VSOCK address.'),
  sshAddress: maybe(string, 'Where its SSH server is reached.'),
  sshPrivateKeyPath: maybe(string, 'The file of the private key to log in with.'),
  controlAddress: maybe(string, 'The Varlink socket by which it is controlled.'),
  addresses: maybe(array(address), `Its IP addresses, best first. ${metadataNote}`),
  OSRelease: maybe(strings, `Its os-release(5), as assignments without quotes. ${metadataNote}`),
  UIDShift: maybe(integer, `The first UID of this system that belongs to it. ${metadataNote}`),
  subgroup: maybe(string, "Its control group below the unit's, where it shares the unit with others."),
  UID: maybe(integer, 'The user who registered it.')
}

/** `io.systemd.Machine.List` (spec/varlink-and-clients.md A10). */
export const list: MethodRow<Manager> = method({
  doc: 'Tells of one machine, or of all: that takes the more flag, and gives one reply for each.',
  more: 'supported',
  in: {
    ...selector,
    acquireMetadata: optional(acquireMetadata, 'Whether to look into the machines, too. No if left out.', readString)
  },
  out: record,
  access: {
    actions: ['inspect-machines'],
    // Of what is known anyway everybody is told, which an owner nobody else can be stands for.
    rule: (_: Manager, { name, acquireMetadata: wanted = 'no' }, call) => ({
      action: 'inspect-machines',
      details: { name: name ?? 'n/a' },
      ...(wanted === 'no' && { owner: call.uid() })
    })
  },
  run: (manager, { name, pid, acquireMetadata: wanted = 'no' }, call) => {
    const selected: Selected = { name, pid }
    const isOne = name !== undefined || pid !== undefined
    if (!isOne && !call.request.more) throw expectedMore()
    const machines = isOne ? [selectMachine(manager, selected, call)] : [...manager.machines.all()]
    if (machines.length === 0) throw new MachinedError('NoSuchMachine', 'No machine known')
    const bootId = currentBootId()
    if (wanted === 'no') return machines.map((machine) => describe(machine, bootId))
    return Promise.all(
      machines.map(async (machine) => describe(machine, bootId, await metadataOf(machine, manager, wanted)))
    )
  }
})

function describe(machine: Machine, bootId: string, metadata: Output = {}): Output {
  const { registration, realtime, monotonic } = machine
  const { id, vsockCid } = registration
  return {
    name: machine.name,
    id: id.length === 0 ? undefined : id.toString('hex'),
    class: machine.class,
    service: text(registration.service),
    rootDirectory: text(registration.rootDirectory),
    unit: text(machine.unit),
    subgroup: text(machine.subgroup),
    leader: processId(registration.leader, bootId),
    supervisor: processId(registration.supervisor, bootId),
    timestamp: realtime === 0n ? undefined : { realtime: Number(realtime), monotonic: Number(monotonic) },
    vSockCid: vsockCid === NO_VSOCK_CID || vsockCid === 0 ? undefined : vsockCid,
    sshAddress: text(registration.sshAddress),
    sshPrivateKeyPath: text(registration.sshPrivateKeyPath),
    controlAddress: text(machine.controlAddress),
    ...metadata,
    UID: registration.owner
  }
}

/** Unset is left out. */
function text(value: string): string | undefined {
  return value === '' ? undefined : value
}

function processId(process: PidRef | undefined, bootId: string): Output | undefined {
  if (process === undefined) return undefined
  const { pid, pidfdId } = process
  return { pid, pidfdId: pidfdId === 0n ? undefined : wide(pidfdId), bootId }
}

async function metadataOf(machine: Machine, manager: Manager, wanted: string): Promise<Output> {
  const gather = async <T>(work: () => T | Promise<T>): Promise<T | undefined> => {
    try {
      return await work()
    } catch (error) {
      if (wanted === 'graceful') return undefined
      throw error
    }
  }
  if (machine.class === 'vm') {
    if (wanted === 'graceful') return {}
    throw new VarlinkError('io.systemd.Machine.NotAvailable')
  }
  return {
    addresses: await gather(() => addressesOf(machine, manager)),
    OSRelease: await gather(() => osRelease(machine, manager)),
    UIDShift: await gather(() => uidShift(machine))
  }
}

function addressesOf(machine: Machine, { addresses }: Manager): Output[] | undefined {
  const found = addresses.of(machine).map(({ interfaceIndex, family, address: bytes }) => ({
    ifindex: interfaceIndex === 0 ? undefined : interfaceIndex,
    family: family === 'ipv4' ? AF_INET : AF_INET6,
    address: [...bytes]
  }))
  return found.length === 0 ? undefined : found
}

async function osRelease(machine: Machine, { osReleases }: Manager): Promise<string[] | undefined> {
  const lines = (await osReleases.of(machine)).map(([key, value]) => `${key}=${value}`)
  return lines.length === 0 ? undefined : lines
}

function uidShift(machine: Machine): number {
  try {
    return uidShiftOf(machine)
  } catch (error) {
    // ENXIO has become that: the map is no plain shift.
    const isComplex = error instanceof MachinedError && error.code === 'NotSupported'
    const isTooShort = isSystemError(error) && error.code === 'ENOMSG'
    throw isComplex || isTooShort ? new VarlinkError('io.systemd.Machine.NoUIDShift') : error
  }
}

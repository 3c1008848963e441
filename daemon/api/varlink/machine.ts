import type { Manager } from '../../manager.ts'
import { processIdType } from './fields.ts'
import { sendSignal, terminate, unregister } from './machine-acts.ts'
import { bindMount, copyFrom, copyTo, openRootDirectory } from './machine-files.ts'
import { mapFrom, mapTo } from './machine-ids.ts'
import { list } from './machine-list.ts'
import { open } from './machine-open.ts'
import { register } from './machine-register.ts'
import { acquireMetadata, address, killWhom, machineClass, openMode, timestamp } from './machine-types.ts'
import type { InterfaceTable } from './schema.ts'

/** `io.systemd.Machine` (spec/varlink-and-clients.md A6 to A15). */
export const machineTable: InterfaceTable<Manager> = {
  name: 'io.systemd.Machine',
  doc: 'The containers and virtual machines of this system.',
  types: [machineClass, killWhom, acquireMetadata, openMode, processIdType, timestamp, address],
  methods: {
    Register: register,
    Unregister: unregister,
    Terminate: terminate,
    Kill: sendSignal,
    List: list,
    Open: open,
    MapFrom: mapFrom,
    MapTo: mapTo,
    BindMount: bindMount,
    CopyFrom: copyFrom,
    CopyTo: copyTo,
    OpenRootDirectory: openRootDirectory
  },
  errors: {
    NoSuchMachine: { doc: 'There is no such machine.' },
    MachineExists: { doc: 'There is a machine of that name.' },
    NoPrivateNetworking: { doc: 'The machine uses the network of this system.' },
    NoOSReleaseInformation: { doc: 'The machine has no os-release(5) file.' },
    NoUIDShift: { doc: "The machine's users are not all shifted by the same number, so there is none to tell." },
    NotAvailable: { doc: 'This cannot be known of such a machine.' },
    NotSupported: { doc: 'This cannot be done with such a machine.' },
    NoIPC: { doc: 'Nothing in the machine takes requests: it has no message bus.' },
    NoSuchUser: { doc: 'There is no such user.' },
    NoSuchGroup: { doc: 'There is no such group.' },
    UserInHostRange: { doc: 'The user is one of this system itself.' },
    GroupInHostRange: { doc: 'The group is one of this system itself.' }
  },
  // Known to clients all the same; the stock daemon does not declare it either.
  undeclared: ['TooManyOperations']
}

import { openRootDirectoryOf } from '../../machine/root-directory.ts'
import { reachInRule, type MachineTarget } from '../machine-access.ts'
import { method } from './table.ts'

const AF_INET = 2
const AF_INET6 = 10

export const getAddresses = method({
  in: {},
  out: { addresses: 'a(iay)' },
  access: 'anyone',
  run: ({ manager, machine }: MachineTarget) => [
    manager.addresses
      .of(machine)
      .map(({ family, address }): [number, Buffer] => [family === 'ipv4' ? AF_INET : AF_INET6, address])
  ]
})

export const getOSRelease = method({
  in: {},
  out: { fields: 'a{ss}' },
  access: {
    actions: ['inspect-machines'],
    rule: ({ machine }: MachineTarget) => ({
      action: 'inspect-machines',
      details: { machine: machine.name, verb: 'get_os_release' }
    })
  },
  run: async ({ manager, machine }: MachineTarget) => [Object.fromEntries(await manager.osReleases.of(machine))]
})

export const openRootDirectory = method({
  in: {},
  out: { fd: 'h' },
  access: {
    actions: ['manage-machines'],
    rule: ({ machine }: MachineTarget) => reachInRule(machine, 'open_root_directory')
  },
  run: async ({ manager, machine }: MachineTarget) => [await openRootDirectoryOf(machine, manager.workers)]
})

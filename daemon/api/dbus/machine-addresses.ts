import { addressesOf } from '../../machine/addresses.ts'
import type { MachineTarget } from './machine.ts'
import { method } from './table.ts'

const AF_INET = 2
const AF_INET6 = 10

export const getAddresses = method({
  in: {},
  out: { addresses: 'a(iay)' },
  access: 'anyone',
  run: ({ manager, machine }: MachineTarget) => [
    addressesOf(machine, manager.network).map(({ family, address }): [number, Buffer] => [
      family === 'ipv4' ? AF_INET : AF_INET6,
      address
    ])
  ]
})

import { formatIp } from '../../base/prefix.ts'
import type { Manager } from '../../manager.ts'
import { listenText } from '../../network/forward-text.ts'
import type { NetworkLease } from '../../network/networks.ts'
import { addForward, describeNetworks, networkRule, setLease } from '../network-access.ts'
import { method, type Access, type InterfaceTable } from './table.ts'

function managing<A>(verb: string, machine: (args: A) => string = () => ''): Access<Manager, A, 'manage-machines'> {
  return {
    actions: ['manage-machines'],
    rule: (_manager, args) => networkRule(verb, machine(args))
  }
}

const describe = method({
  in: {},
  out: { json: 's' },
  access: 'anyone',
  run: (manager: Manager) => [JSON.stringify(describeNetworks(manager))]
})

type LeaseRow = [string, string, string, string, bigint, bigint, boolean, string]

function leaseRow({ name, ip4, ip6, mac, firstSeen, lastSeen, fixed, network }: NetworkLease): LeaseRow {
  const addresses = [ip4, ip6].map((ip) => (ip ? formatIp(ip) : '')) as [string, string]
  return [name, ...addresses, mac, BigInt(firstSeen) * 1000n, BigInt(lastSeen) * 1000n, fixed, network]
}

const listLeases = method({
  in: {},
  out: { leases: 'a(ssssttbs)' },
  access: 'anyone',
  run: ({ networks }: Manager) => [networks.leases().map(leaseRow)]
})

const setLeaseOf = method({
  in: { name: 's', ip4: 's', ip6: 's' },
  out: {},
  access: managing('set_lease', ({ name }: { name: string }) => name),
  run: async (manager: Manager, { name, ip4, ip6 }) => {
    await setLease(manager, name, ip4, ip6)
    return []
  }
})

const listForwards = method({
  in: {},
  out: { forwards: 'a(ssu)' },
  access: 'anyone',
  run: ({ networks }: Manager) => [
    networks
      .forwards()
      .map((forward): [string, string, number] => [forward.machine, listenText(forward), forward.target])
  ]
})

const addForwardTo = method({
  in: { name: 's', listen: 's', target: 's' },
  out: {},
  access: managing('add_forward', ({ name }: { name: string }) => name),
  run: async (manager: Manager, { name, listen, target }) => {
    await addForward(manager, name, listen, target)
    return []
  }
})

const removeForward = method({
  in: { name: 's', listen: 's' },
  out: {},
  access: managing('remove_forward', ({ name }: { name: string }) => name),
  run: async ({ networks }: Manager, { name, listen }) => {
    await networks.removeForward(name, listen)
    return []
  }
})

const takeDown = method({
  in: {},
  out: {},
  access: managing('take_down_network'),
  run: async ({ networks }: Manager) => {
    await networks.takeDown()
    return []
  }
})

/** `io.machined.Network`: the networks of machines, which the stock daemon has none of (networking.md 7.2). */
export const networkTable: InterfaceTable<Manager> = {
  name: 'io.machined.Network',
  properties: {},
  methods: {
    Describe: describe,
    ListLeases: listLeases,
    SetLease: setLeaseOf,
    ListForwards: listForwards,
    AddForward: addForwardTo,
    RemoveForward: removeForward,
    TakeDown: takeDown
  },
  signals: {}
}

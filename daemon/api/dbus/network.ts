import { MachinedError } from '../../base/errors.ts'
import { formatIp, parseIp } from '../../base/prefix.ts'
import type { Manager } from '../../manager.ts'
import { listenText, readForward } from '../../network/forward-text.ts'
import { method, type Access, type InterfaceTable } from './table.ts'

/** Changing a network is for administrators. */
function managing<A>(verb: string, machine: (args: A) => string = () => ''): Access<Manager, A, 'manage-machines'> {
  return {
    actions: ['manage-machines'],
    rule: (_manager, args) => ({ action: 'manage-machines', details: { machine: machine(args), verb } })
  }
}

const describe = method({
  in: {},
  out: { json: 's' },
  access: 'anyone',
  run: ({ networks, config }: Manager) => [JSON.stringify({ ...networks.describe(), files: config.files })]
})

const listLeases = method({
  in: {},
  out: { leases: 'a(ssssttb)' },
  access: 'anyone',
  run: ({ networks }: Manager) => [
    networks
      .leases()
      .map(
        ({
          name,
          ip4,
          ip6,
          mac,
          firstSeen,
          lastSeen,
          fixed
        }): [string, string, string, string, bigint, bigint, boolean] => [
          name,
          ip4 ? formatIp(ip4) : '',
          ip6 ? formatIp(ip6) : '',
          mac,
          BigInt(firstSeen) * 1000n,
          BigInt(lastSeen) * 1000n,
          fixed
        ]
      )
  ]
})

const setLease = method({
  in: { name: 's', ip4: 's', ip6: 's' },
  out: {},
  access: managing('set_lease', ({ name }: { name: string }) => name),
  run: ({ networks }: Manager, { name, ip4, ip6 }) => {
    networks.setLease(name, { ip4: readAddress(ip4), ip6: readAddress(ip6) })
    return []
  }
})

function readAddress(text: string): Buffer | undefined {
  if (text === '') return undefined
  const address = parseIp(text)
  if (address === undefined) throw new MachinedError('InvalidArgs', `Invalid address '${text}'`)
  return address
}

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

const addForward = method({
  in: { name: 's', listen: 's', target: 's' },
  out: {},
  access: managing('add_forward', ({ name }: { name: string }) => name),
  run: async ({ networks }: Manager, { name, listen, target }) => {
    await networks.addForward(readForward(name, listen, target))
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

/** `io.machined.Network`: the network of machines, which the stock daemon has none of (networking.md 7.2). */
export const networkTable: InterfaceTable<Manager> = {
  name: 'io.machined.Network',
  properties: {},
  methods: {
    Describe: describe,
    ListLeases: listLeases,
    SetLease: setLease,
    ListForwards: listForwards,
    AddForward: addForward,
    RemoveForward: removeForward,
    TakeDown: takeDown
  },
  signals: {}
}

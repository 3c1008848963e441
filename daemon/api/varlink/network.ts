import { MachinedError } from '../../base/errors.ts'
import { formatIp } from '../../base/prefix.ts'
import type { Manager } from '../../manager.ts'
import type { Forward } from '../../network/firewall-state.ts'
import type { NetworkLease } from '../../network/networks.ts'
import { listenText } from '../../network/forward-text.ts'
import type { AccessOn } from '../access.ts'
import { addForward, describeNetworks, networkRule, setLease } from '../network-access.ts'
import type { Call } from './call.ts'
import { VarlinkError } from './errors.ts'
import { interactiveAuthentication, readMachineName, readNumber, readString, strings } from './fields.ts'
import {
  array,
  boolean,
  field,
  integer,
  maybe,
  method,
  needed,
  optional,
  string,
  structure,
  type InterfaceTable,
  type Output
} from './schema.ts'
import { named } from './selector.ts'

const NAME = 'io.machined.Network'

const ofMachine = needed(string, 'The name of the machine, whether it runs or not.', readMachineName)
const listen = needed(
  string,
  'Where the host listens: `[tcp|udp:][ADDRESS:]PORT[-PORT]`, an IPv6 address in brackets.',
  readString
)

const lease = structure('Lease', 'The addresses that belong to a name.', {
  name: field(string, 'The name of a machine.'),
  network: field(string, 'The network that they are of.'),
  ipv4: maybe(string, 'Its IPv4 address.'),
  ipv6: maybe(string, 'Its IPv6 address.'),
  mac: maybe(string, 'The MAC address that its network interface had last.'),
  firstSeen: field(integer, 'Since when it has them, in microseconds since 1970.'),
  lastSeen: field(integer, 'When it was started last, in microseconds since 1970.'),
  fixed: field(boolean, 'Whether somebody has set them.')
})

const networkType = structure('Network', 'A network of machines.', {
  name: field(string, '`default`, the name of its file, or for a zone of systemd-nspawn that of its bridge.'),
  bridge: field(string, 'The network interface that its machines are ports of.'),
  subnet4: maybe(string, 'Its IPv4 network, once one has been chosen.'),
  subnet6: maybe(string, 'Its IPv6 network.'),
  conflict: maybe(string, 'A network that something else on the host uses, and that overlaps one of these.'),
  machines: field(strings, 'The machines that are in it.'),
  files: field(strings, 'The files that its configuration was read from; the last one counts most.')
})

const forwardType = structure('Forward', 'A port of the host that leads into a machine, or a range of them.', {
  name: field(string, 'The machine.'),
  listen: field(string, listen.doc),
  target: field(integer, "The machine's port for the first one; the others follow.")
})

function managing(verb: string): AccessOn<Call, Manager, { readonly name: string }, 'manage-machines'> {
  return { actions: ['manage-machines'], rule: (_manager, { name }) => named(networkRule(verb, name)) }
}

function describeLease({ name, network, ip4, ip6, mac, firstSeen, lastSeen, fixed }: NetworkLease): Output {
  return {
    name,
    network,
    ipv4: ip4 && formatIp(ip4),
    ipv6: ip6 && formatIp(ip6),
    mac: mac === '' ? undefined : mac,
    firstSeen: firstSeen * 1000,
    lastSeen: lastSeen * 1000,
    fixed
  }
}

function describeForward(forward: Forward): Output {
  return { name: forward.machine, listen: listenText(forward), target: forward.target }
}

/** Those failures that the interface has errors for say in words who is in the way; any other goes on. */
async function refusing(errors: Readonly<Record<string, string>>, work: Promise<void>): Promise<Output> {
  try {
    await work
    return {}
  } catch (error) {
    const name = error instanceof MachinedError ? errors[error.code] : undefined
    throw name === undefined ? error : new VarlinkError(`${NAME}.${name}`, { reason: (error as Error).message })
  }
}

const reason = { reason: field(string, 'Why, in words.') }

/** `io.machined.Network`: the networks of machines, which the stock daemon has none of (networking.md 7.2). */
export const networkTable: InterfaceTable<Manager> = {
  name: NAME,
  doc: 'The networks of machines: addresses that belong to names, and ports of the host that lead into machines.',
  types: [networkType, lease, forwardType],
  methods: {
    Describe: method({
      doc: 'Tells what networks there are, and apart from that what the default one is.',
      in: {},
      out: {
        bridge: field(string, 'The network interface that machines are ports of.'),
        backend: field(string, 'Who sees to links and addresses: `builtin`, `networkd` or `none`.'),
        managed: field(boolean, 'Whether machines that start now get a network from here.'),
        networkd: field(boolean, 'Whether systemd-networkd runs on the host.'),
        subnet4: maybe(string, 'The IPv4 network, once one has been chosen.'),
        subnet6: maybe(string, 'The IPv6 network.'),
        conflict: maybe(string, 'A network that something else on the host uses, and that overlaps one of these.'),
        machines: field(strings, 'The machines that have a network from here, whichever it is.'),
        files: field(strings, 'The files that the configuration was read from; the last one counts most.'),
        networks: field(array(networkType), 'All networks; the default one comes first.')
      },
      access: 'anyone',
      run: (manager: Manager) => ({ ...describeNetworks(manager) })
    }),
    ListLeases: method({
      doc: 'Tells which name has which addresses.',
      in: {},
      out: { leases: field(array(lease), 'Those of all names that ever had a network.') },
      access: 'anyone',
      run: ({ networks }: Manager) => ({ leases: networks.leases().map(describeLease) })
    }),
    SetLease: method({
      doc: 'Gives a name addresses of its network, also a machine that runs. One that is left out stays as it is.',
      in: {
        allowInteractiveAuthentication: interactiveAuthentication,
        name: ofMachine,
        ipv4: optional(string, 'The IPv4 address.', readString),
        ipv6: optional(string, 'The IPv6 address.', readString)
      },
      out: {},
      access: managing('set_lease'),
      run: (manager: Manager, { name, ipv4 = '', ipv6 = '' }) =>
        refusing({ FileExists: 'AddressTaken', InvalidArgs: 'BadAddress' }, setLease(manager, name, ipv4, ipv6))
    }),
    ListForwards: method({
      doc: 'Tells which ports lead into machines.',
      in: {},
      out: { forwards: field(array(forwardType), 'Those of all machines, whether they run or not.') },
      access: 'anyone',
      run: ({ networks }: Manager) => ({ forwards: networks.forwards().map(describeForward) })
    }),
    AddForward: method({
      doc: 'Leads a port of the host, or a range of them, into a machine. Stays till it is removed, or till reboot.',
      in: {
        allowInteractiveAuthentication: interactiveAuthentication,
        name: ofMachine,
        listen,
        target: optional(integer, "The machine's port for the first one. The same if left out.", (value) =>
          readNumber(value, 1, 65_535)
        )
      },
      out: {},
      access: managing('add_forward'),
      run: (manager: Manager, { name, listen: from, target = '' }) =>
        refusing({ FileExists: 'PortTaken', InvalidArgs: 'BadPort' }, addForward(manager, name, from, String(target)))
    }),
    RemoveForward: method({
      doc: 'Ends a forward. Connections that use it go on.',
      in: { allowInteractiveAuthentication: interactiveAuthentication, name: ofMachine, listen },
      out: {},
      access: managing('remove_forward'),
      run: ({ networks }: Manager, { name, listen: from }) =>
        refusing({ FileNotFound: 'NoSuchForward', InvalidArgs: 'BadPort' }, networks.removeForward(name, from))
    }),
    TakeDown: method({
      doc: 'Takes bridges and rules away, which are made anew for the next machine.',
      in: { allowInteractiveAuthentication: interactiveAuthentication },
      out: {},
      access: { actions: ['manage-machines'], rule: () => named(networkRule('take_down_network')) },
      run: ({ networks }: Manager) => refusing({ Failed: 'InUse' }, networks.takeDown())
    })
  },
  errors: {
    AddressTaken: { doc: 'Another name has the address.', fields: reason },
    BadAddress: { doc: 'It is no address, or not one that the network can give away.', fields: reason },
    PortTaken: { doc: 'The port, or one of the range, is forwarded already.', fields: reason },
    BadPort: { doc: 'It is no port, or no range of ports.', fields: reason },
    NoSuchForward: { doc: 'The machine has no such forward.', fields: reason },
    InUse: { doc: 'Machines are using the network.', fields: reason }
  }
}

import type { InterfaceAddress } from '../../linux/rtnetlink.ts'
import { MachineNews, type News } from '../../machine/machine-news.ts'
import type { Manager } from '../../manager.ts'
import { readMachineName } from './fields.ts'
import { address, machineClass } from './machine-types.ts'
import {
  array,
  enumeration,
  field,
  integer,
  maybe,
  method,
  optional,
  string,
  Subscription,
  type InterfaceTable,
  type Output
} from './schema.ts'

const AF_INET = 2
const AF_INET6 = 10

const kind = enumeration('EventKind', 'What has happened.', {
  present: 'The machine was there when the subscription began.',
  new: 'The machine has come.',
  removed: 'The machine has gone.',
  state: 'The state of the machine is another.',
  addresses: 'An address of the machine has appeared or gone: these are all there are now.'
})

const state = enumeration('MachineState', 'In which part of its life a machine is.', {
  opening: 'Its unit is being started.',
  running: 'It runs.',
  closing: 'It is being ended.'
})

function describe({ kind: what, machine, addresses }: News, sequence: number): Output {
  return {
    sequence,
    event: what,
    machine: machine.name,
    class: machine.class,
    state: what === 'removed' ? undefined : machine.state,
    addresses: addresses?.map(describeAddress)
  }
}

function describeAddress({ interfaceIndex, family, address: bytes }: InterfaceAddress): Output {
  return { ifindex: interfaceIndex, family: family === 'ipv4' ? AF_INET : AF_INET6, address: [...bytes] }
}

/** `io.machined.Events`, which the stock daemon has nothing like: machines as they come, change and go. */
export const eventsTable: InterfaceTable<Manager> = {
  name: 'io.machined.Events',
  doc: 'Tells of machines as they come, change and go.',
  types: [kind, state, machineClass, address],
  methods: {
    Subscribe: method({
      doc: 'Tells what is there, then each change, as long as the caller stays. One who does not read is cut off.',
      more: 'required',
      in: {
        name: optional(string, 'Only tell of the machine of this name. Of all if left out.', (value) =>
          value === '.host' ? value : readMachineName(value)
        )
      },
      out: {
        sequence: field(integer, 'Counts the replies from 1. None is ever left out.'),
        event: field(kind, 'What has happened.'),
        machine: field(string, 'To which machine.'),
        class: field(machineClass, 'What kind of machine it is.'),
        state: maybe(state, 'Its state now, unless it has gone.'),
        addresses: maybe(array(address), 'Its addresses now, best first, if it has a network of its own.')
      },
      access: 'anyone',
      run: ({ machines, network }: Manager, { name }) =>
        new Subscription((emit) => {
          let sequence = 0
          const news = new MachineNews(machines, network, {
            name,
            tell: (one) => {
              emit(describe(one, ++sequence))
            }
          })
          return () => {
            news.close()
          }
        })
    })
  },
  errors: {}
}

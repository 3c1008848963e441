import type { Machine } from '../../machine/machine.ts'
import type { Manager } from '../../manager.ts'
import { addressRecord, TYPE_A, TYPE_AAAA } from './dns-record.ts'
import { strings } from './fields.ts'
import type { Json } from './json.ts'
import { hookTypes, question, answer } from './resolve-hook-types.ts'
import {
  array,
  BadValue,
  integer,
  maybe,
  method,
  needed,
  Subscription,
  type InterfaceTable,
  type Output
} from './schema.ts'

const CLASS_IN = 1
const SUCCESS = 0
const MOST_LABEL = 63

interface Key {
  readonly class: number
  readonly type: number
  readonly name: string
}

function readKeys(value: Json): Key[] {
  if ((value as readonly Json[]).length === 0) throw new BadValue()
  return (value as readonly { readonly key: Readonly<Record<string, Json>> }[]).map(({ key }) => ({
    class: Number(key['class'] ?? CLASS_IN),
    type: Number(key['type']),
    name: key['name'] as string
  }))
}

/** Machines that can be asked for: those that are there, but the host. */
function answerable({ machines }: Manager): Machine[] {
  return [...machines.all()].filter((machine) => machine.class !== 'host' && machine.started)
}

/** Labels of machine names may be longer than those of DNS. */
function isDomainName(name: string): boolean {
  return name.split('.').every((label) => label.length <= MOST_LABEL)
}

/** The resource records that a key asks for; undefined where it does not name a machine. */
function lookUp(manager: Manager, key: Key): Output[] | undefined {
  // DNS tells no upper from lower case, and a name may end in the dot of the root.
  const wanted = key.name.toLowerCase().replace(/\.$/, '')
  const machine = answerable(manager).find(({ name }) => isDomainName(name) && name.toLowerCase() === wanted)
  if (machine === undefined) return undefined
  if (key.class !== CLASS_IN || (key.type !== TYPE_A && key.type !== TYPE_AAAA)) return []
  const family = key.type === TYPE_A ? 'ipv4' : 'ipv6'
  return manager.addresses
    .of(machine)
    .filter((address) => address.family === family)
    .map((address) => addressRecord(key.name.replace(/\.$/, ''), address.address))
}

/**
 * `io.systemd.Resolve.Hook` (spec/varlink-and-clients.md A18). Names below a machine's are left to normal resolution: a
 * machine called like a top-level domain would take that from the host otherwise.
 */
export const resolveHookTable: InterfaceTable<Manager> = {
  name: 'io.systemd.Resolve.Hook',
  doc: 'Lets systemd-resolved find the addresses of machines by their names.',
  types: hookTypes,
  methods: {
    QueryFilter: method({
      doc: 'Tells which names are worth asking about. With the more flag the call stays, and each change is told.',
      more: 'supported',
      in: {},
      out: {
        filterDomains: maybe(strings, 'The names of all machines. The names below these are not answered for.'),
        filterLabelsMin: maybe(integer, 'The least number of labels in a name worth asking about. Never told here.'),
        filterLabelsMax: maybe(integer, 'The largest number of labels in a name worth asking about. Never told here.')
      },
      access: 'anyone',
      run: (manager: Manager) =>
        new Subscription((emit) => {
          const tell = (): void => {
            emit({ filterDomains: answerable(manager).map(({ name }) => name) })
          }
          tell()
          manager.machines.on('new', tell).on('removed', tell)
          return () => manager.machines.off('new', tell).off('removed', tell)
        })
    }),
    ResolveRecord: method({
      doc: 'Answers a question, all of its keys at once, if one of them is the name of a machine.',
      in: { question: needed(array(question), 'What is asked.', readKeys) },
      out: {
        rcode: maybe(
          integer,
          'The DNS response code. Left out if the question is not for us: others are to answer it then.'
        ),
        answer: maybe(array(answer), 'What was found, which may be nothing.')
      },
      access: 'anyone',
      run: (manager: Manager, { question: keys }) => {
        const found = keys.map((key) => lookUp(manager, key)).filter((records) => records !== undefined)
        return found.length === 0 ? {} : { rcode: SUCCESS, answer: found.flat() }
      }
    })
  },
  errors: {}
}

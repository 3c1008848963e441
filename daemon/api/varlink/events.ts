import { isSystemError, MachinedError } from '../../base/errors.ts'
import type { Operation } from '../../base/operations.ts'
import type { Image } from '../../image/image.ts'
import type { InterfaceAddress } from '../../linux/rtnetlink.ts'
import { MachineNews, type News } from '../../machine/machine-news.ts'
import type { Manager } from '../../manager.ts'
import { eventFields, eventTypes, topic } from './event-types.ts'
import { readImageName, readStrings } from './fields.ts'
import { array, method, optional, string, Subscription, type InterfaceTable, type Output } from './schema.ts'

const AF_INET = 2
const AF_INET6 = 10

const SUBSCRIBE = `Tells what is there, then each change, as long as the caller stays. One who does not read is cut off.
Some of what changes about images is told only with the next thing that happens to one: how much they take as they grow,
quota limits that are set by the number of a group, what becomes of a file that a link leads to or of a block device, and
what another computer does on a file system in the network. It is told at once where this service does it.`

/** What a subscriber wants to know, and how it is told. */
interface Subscriber {
  readonly manager: Manager
  readonly name: string | undefined
  readonly tell: (event: string, about?: Output) => void
}

/** Each begins with what is there, calls `ready` once that is told, and gives what ends it. */
const topics: Readonly<Record<string, (subscriber: Subscriber, ready: () => void) => () => void>> = {
  machines: followMachines,
  operations: followOperations,
  images: followImages
}

function followMachines({ manager, name, tell }: Subscriber, ready: () => void): () => void {
  const news = new MachineNews(manager, {
    name,
    tell: (one) => {
      tell(one.kind, describeMachine(one))
    }
  })
  ready()
  return () => {
    news.close()
  }
}

function describeMachine({ kind, machine, addresses }: News): Output {
  return {
    machine: machine.name,
    class: machine.class,
    state: kind === 'removed' ? undefined : machine.state,
    addresses: addresses?.map(describeAddress)
  }
}

function describeAddress({ interfaceIndex, family, address: bytes }: InterfaceAddress): Output {
  return { ifindex: interfaceIndex, family: family === 'ipv4' ? AF_INET : AF_INET6, address: [...bytes] }
}

function followImages({ manager, name, tell }: Subscriber, ready: () => void): () => void {
  return manager.imageNews.follow({
    tell: (kind, image: Image) => {
      if (name === undefined || image.name === name) tell(kind, { image: image.name, path: image.path })
    },
    ready
  })
}

function followOperations({ manager: { operations }, name, tell }: Subscriber, ready: () => void): () => void {
  const about = (event: string, operation: Operation, failure?: unknown): void => {
    if (name !== undefined && operation.subject?.name !== name) return
    const error = failure === undefined ? undefined : causeOf(failure)
    tell(event, { ...describeOperation(operation), error })
  }
  const begun = (operation: Operation): void => {
    about('new', operation)
  }
  const moved = (operation: Operation): void => {
    about('progress', operation)
  }
  const ended = (operation: Operation, failure?: unknown): void => {
    about(failure === undefined ? 'finished' : 'failed', operation, failure)
  }
  for (const operation of operations.all()) about('present', operation)
  ready()
  operations.on('begun', begun).on('moved', moved).on('ended', ended)
  return () => {
    operations.off('begun', begun).off('moved', moved).off('ended', ended)
  }
}

function describeOperation({ id, kind, subject, progress }: Operation): Output {
  return { [kind === 'copy' ? 'machine' : 'image']: subject?.name, operation: { id, kind, ...progress } }
}

function causeOf(failure: unknown): string {
  return isSystemError(failure) || failure instanceof MachinedError ? failure.code : 'Failed'
}

/** `io.machined.Events`, which the stock daemon has nothing like. */
export const eventsTable: InterfaceTable<Manager> = {
  name: 'io.machined.Events',
  doc: 'Tells of machines and images as they come, change and go, and of what takes long.',
  types: eventTypes,
  methods: {
    Subscribe: method({
      doc: SUBSCRIBE,
      more: 'required',
      in: {
        name: optional(
          string,
          'Only tell of the machine and the image of this name. Of all if left out.',
          readImageName
        ),
        topics: optional(array(topic), 'What to tell about. Everything if left out.', readStrings)
      },
      out: eventFields,
      access: 'anyone',
      run: (manager: Manager, { name, topics: wanted = Object.keys(topics) }) =>
        new Subscription((emit) => subscribe({ manager, name }, new Set(wanted), emit))
    })
  },
  errors: {}
}

function subscribe(
  about: Pick<Subscriber, 'manager' | 'name'>,
  wanted: ReadonlySet<string>,
  emit: (output: Output) => void
): () => void {
  let sequence = 0
  const tell = (event: string, output: Output = {}): void => {
    emit({ sequence: ++sequence, event, ...output })
  }
  // One more than there are topics, as some are ready at once.
  let unready = wanted.size + 1
  const ready = (): void => {
    if (--unready === 0) tell('ready')
  }
  const stops = [...wanted].map((name) => topics[name]?.({ ...about, tell }, ready))
  ready()
  return () => {
    for (const stop of stops) stop?.()
  }
}

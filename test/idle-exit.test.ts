import { EventEmitter, once } from 'node:events'
import t from 'tap'
import { Connection } from '../daemon/bus/connection.ts'
import { OwnName } from '../daemon/bus/own-name.ts'
import { exitWhenIdle } from '../daemon/idle-exit.ts'
import { startBus } from './bus/private-bus.ts'

const NAME = 'org.example.Idle'
const IDLE_MS = 2

type Tap = Pick<typeof t, 'teardown'>

/** What a service on a bus of its own has to do, for exitWhenIdle to look at, and a client; the process stays. */
async function startService(t: Tap) {
  const { address } = await startBus(t)
  const [connection, client] = await Promise.all([Connection.open(address), Connection.open(address)])
  t.teardown(() => {
    connection.close()
    client.close()
  })
  const ownName = new OwnName(connection, NAME)
  await ownName.claim()
  const events = new EventEmitter<{ look: []; call: []; answer: []; exit: [] }>()
  const names: string[] = []
  const done: string[] = []
  // Each call waits to be let go on.
  connection.onMethodCall = async ({ serial, sender }) => {
    const answer = once(events, 'answer')
    events.emit('call')
    await answer
    connection.send({ type: 2, replySerial: serial, destination: sender })
  }
  return {
    connection,
    client,
    events,
    names,
    done,
    varlink: { connections: 0, onLeave: () => undefined, close: () => done.push('close') },
    machines: Object.assign(new EventEmitter(), {
      // Asked each time that is looked whether there is anything to do.
      names: () => {
        events.emit('look')
        return names
      }
    }),
    operations: { size: 0 },
    name: {
      release: async () => {
        done.push('release')
        await ownName.release()
      },
      startOwner: () => {
        done.push('start')
        return Promise.resolve()
      }
    },
    exit: () => {
      done.push('exit')
      events.emit('exit')
    }
  }
}

function call(client: Connection): Promise<unknown> {
  return client.call({ destination: NAME, path: '/', interface: 'a.b', member: 'C' })
}

t.test('a service with nothing to do closes its sockets, gives its name up and goes', async (t) => {
  const service = await startService(t)
  exitWhenIdle(IDLE_MS, service)
  await once(service.events, 'exit')
  t.same(service.done, ['close', 'release', 'exit'])
  await t.rejects(call(service.client), /was not provided by any/)
})

t.test('one that is never to go stays', async (t) => {
  const service = await startService(t)
  exitWhenIdle(undefined, service)
  t.equal(service.machines.listenerCount('removed'), 0)
})

t.test('as long as it has anything to do it stays', async (t) => {
  const works: Record<string, (service: Awaited<ReturnType<typeof startService>>) => () => void> = {
    'a machine': ({ names }) => {
      names.push('m')
      return () => names.pop()
    },
    'an operation': ({ operations }) => {
      operations.size = 1
      return () => (operations.size = 0)
    },
    'a Varlink client': ({ varlink }) => {
      varlink.connections = 1
      return () => (varlink.connections = 0)
    },
    'a call that is not answered yet': ({ client, events }) => {
      void call(client)
      return () => events.emit('answer')
    },
    'a call of its own': ({ connection, client }) => {
      let finish: () => void = () => undefined
      client.onMethodCall = async ({ serial, sender }) => {
        await new Promise<void>((resolve) => (finish = resolve))
        client.send({ type: 2, replySerial: serial, destination: sender })
      }
      void connection.call({ destination: client.uniqueName, path: '/', interface: 'a.b', member: 'C' })
      return () => {
        finish()
      }
    }
  }
  for (const [what, begin] of Object.entries(works)) {
    const service = await startService(t)
    exitWhenIdle(IDLE_MS, service)
    const arrived = what === 'a call that is not answered yet' ? once(service.events, 'call') : undefined
    const end = begin(service)
    await arrived
    for (let looks = 0; looks < 3; looks++) await once(service.events, 'look')
    t.same(service.done, [], what)
    end()
    await once(service.events, 'exit')
  }
})

t.test('a call that comes while it goes is answered, and whatever came in is left to the next one', async (t) => {
  const service = await startService(t)
  const { name, events, names, done } = service
  const arrived = once(events, 'call')
  let answer: Promise<unknown> = Promise.resolve()
  const release = async (): Promise<void> => {
    // It has found that it is idle, but the bus does not know yet.
    answer = call(service.client)
    await arrived
    await name.release()
    names.push('m')
    events.emit('answer')
  }
  exitWhenIdle(IDLE_MS, { ...service, name: { ...name, release } })
  await once(events, 'exit')
  await answer
  t.same(done, ['close', 'release', 'start', 'exit'])
})

import { fstatSync, readSync, writeSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import dbus from 'dbus-next'
import t from 'tap'
import { Connection, takeFd } from '../../daemon/bus/connection.ts'
import { encodeMessage, type BusMessage } from '../../daemon/bus/message.ts'
import { closeFd, pipe } from '../../daemon/linux/libc.ts'
import { socketFolder, startBus } from './private-bus.ts'

const driver = { destination: 'org.freedesktop.DBus', path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus' }

type Tap = Pick<typeof t, 'teardown'>

async function connect(t: Tap, address: string): Promise<Connection> {
  const connection = await Connection.open(address)
  t.teardown(() => {
    connection.close()
  })
  return connection
}

function reply(connection: Connection, call: BusMessage, signature: string, body: unknown[]): void {
  connection.send({
    type: 2,
    replySerial: call.serial,
    ...(call.sender && { destination: call.sender }),
    signature,
    body
  })
}

t.test('says Hello and calls the bus', async (t) => {
  const { address } = await startBus(t)
  const connection = await connect(t, address)
  t.match(connection.uniqueName, /^:1\.\d+$/)
  const names = await connection.call({ ...driver, member: 'ListNames' })
  t.ok((names.body[0] as string[]).includes(connection.uniqueName))
  await t.rejects(connection.call({ ...driver, member: 'Nonsense' }), {
    name: 'DBusError',
    type: 'org.freedesktop.DBus.Error.UnknownMethod'
  })
  await t.rejects(connection.call({ ...driver, member: 'GetNameOwner', signature: 's', body: [7] }), TypeError)
})

t.test('connects to an abstract address, after others that do not answer', async (t) => {
  const { address } = await startBus(t, `unix:abstract=machined-test-${String(process.pid)}`)
  const connection = await connect(t, `unix:path=/nowhere/a%20bus;${address}`)
  t.match(connection.uniqueName, /^:1/)
})

t.test('answers a client with another implementation, and signals to it', async (t) => {
  const { address } = await startBus(t)
  const connection = await connect(t, address)
  connection.onMethodCall = (call) => {
    reply(connection, call, 'sa{sv}', [`${String(call.body[0])}!`, { Key: new dbus.Variant('u', 7) }])
  }
  const client = dbus.sessionBus({ busAddress: address })
  t.teardown(() => {
    client.disconnect()
  })
  const answer = await client.call(
    new dbus.Message({
      destination: connection.uniqueName,
      path: '/a',
      interface: 'org.example.A',
      member: 'Shout',
      signature: 's',
      body: ['hello']
    })
  )
  t.equal(answer?.body[0], 'hello!')
  t.equal((answer?.body[1] as Record<string, dbus.Variant>)['Key']?.value, 7)

  await client.call(
    new dbus.Message({ ...driver, member: 'AddMatch', signature: 's', body: [`type='signal',member='Rang'`] })
  )
  const signal = new Promise<dbus.Message>((resolve) => {
    client.on('message', (message: dbus.Message) => {
      if (message.member === 'Rang') resolve(message)
    })
  })
  connection.send({ type: 4, path: '/a', interface: 'org.example.A', member: 'Rang', signature: 'u', body: [3] })
  t.same((await signal).body, [3])
})

t.test('delivers the signals asked for, from the owner of the name alone', async (t) => {
  const { address } = await startBus(t)
  const [receiver, owner, stranger] = [await connect(t, address), await connect(t, address), await connect(t, address)]
  await owner.call({ ...driver, member: 'RequestName', signature: 'su', body: ['org.example.Bell', 0] })
  const heard: unknown[] = []
  let last: () => void = () => undefined
  const done = new Promise<void>((resolve) => (last = resolve))
  await receiver.onSignal({ sender: 'org.example.Bell', path: '/a', member: 'Rang' }, (message) => {
    heard.push(message.body[0])
    if (message.body[0] === 'last') last()
  })
  const ring = { type: 4, path: '/a', interface: 'org.example.A', member: 'Rang', signature: 's' } as const
  // Addressed to us, a signal arrives whether or not we asked for it.
  stranger.send({ ...ring, destination: receiver.uniqueName, body: ['forged'] })
  await stranger.call({ ...driver, member: 'GetId' })
  owner.send({ ...ring, body: ['first'] })
  owner.send({ ...ring, member: 'Other', body: ['other'] })
  owner.send({ ...ring, body: ['last'] })
  await done
  t.same(heard, ['first', 'last'])
})

t.test('signals that wait for others arrive without any, and before the call that follows them', async (t) => {
  const { address } = await startBus(t)
  const [receiver, sender] = [await connect(t, address), await connect(t, address)]
  const heard: unknown[] = []
  let heardOf: () => void = () => undefined
  await receiver.onSignal({ path: '/a', member: 'Rang' }, (message) => {
    heard.push(message.body[0])
    heardOf()
  })
  receiver.onMethodCall = (call) => {
    heard.push('call')
    reply(receiver, call, '', [])
  }
  const ring = { type: 4, path: '/a', interface: 'org.example.A', member: 'Rang', signature: 'u' } as const
  const call = { destination: receiver.uniqueName, path: '/a', interface: 'org.example.A', member: 'Answer' }
  for (let index = 0; index < 5; index++) {
    sender.send({ ...ring, body: [index] })
    await nextTurn()
  }
  await sender.call(call)
  t.same(heard.splice(0), [0, 1, 2, 3, 4, 'call'])
  const arrived = new Promise<void>((resolve) => (heardOf = resolve))
  sender.send({ ...ring, body: [5] })
  await arrived
  t.same(heard, [5])
})

t.test('passes descriptors both ways and closes those nobody took', async (t) => {
  const { address } = await startBus(t)
  const [server, client] = [await connect(t, address), await connect(t, address)]
  let received = -1
  let unclaimed = -1
  server.onMethodCall = async (call) => {
    await Promise.resolve()
    received = takeFd(call, call.body[0] as number)
    unclaimed = call.body[1] as number
    fstatSync(unclaimed)
    writeSync(received, 'from the server')
    reply(server, call, 'h', [received])
  }
  const [read, write] = pipe()
  const [spare, spareEnd] = pipe()
  const pending = client.call({
    destination: server.uniqueName,
    path: '/a',
    interface: 'org.example.A',
    member: 'Take',
    signature: 'hh',
    body: [write, spare]
  })
  const answer = await pending
  const back = takeFd(answer, answer.body[0] as number)
  const text = Buffer.alloc(32)
  t.equal(text.toString('utf8', 0, readSync(read, text)), 'from the server')
  t.equal(fstatSync(back).ino, fstatSync(read).ino, 'it is the same pipe')
  closeFd(back)
  closeFd(spareEnd)
  await new Promise(setImmediate)
  t.equal(readSync(read, text), 0, 'no copy of the write end is left open: sent ones, received ones and taken ones')
  t.throws(() => fstatSync(unclaimed), { code: 'EBADF' })
  closeFd(read)
})

t.test('a reply of 20 MB survives a slow reader', async (t) => {
  const { address } = await startBus(t)
  const server = await connect(t, address)
  const big = Buffer.alloc(20 << 20, 'x')
  server.onMethodCall = (call) => {
    reply(server, call, 'ayu', [big, 7])
  }
  const client = await connect(t, address)
  const request = { destination: server.uniqueName, path: '/a', interface: 'org.example.A', member: 'Big' }
  const answers = await Promise.all([client.call(request), client.call(request)])
  for (const { body } of answers) {
    t.ok(big.equals(body[0] as Buffer))
    t.equal(body[1], 7)
  }
})

t.test('keeps the order of many messages, with and without descriptors', async (t) => {
  const { address } = await startBus(t)
  const [server, client] = [await connect(t, address), await connect(t, address)]
  server.onMethodCall = (call) => {
    reply(server, call, 'u', [call.body[0]])
  }
  const request = { destination: server.uniqueName, path: '/a', interface: 'org.example.A', member: 'Echo' }
  const order: unknown[] = []
  await Promise.all(
    Array.from({ length: 500 }, async (_, index) => {
      const [read, write] = index % 50 === 0 ? pipe() : []
      if (write !== undefined) closeFd(write)
      const signature = read === undefined ? 'u' : 'uh'
      const answer = await client.call({ ...request, signature, body: read === undefined ? [index] : [index, read] })
      order.push(answer.body[0])
    })
  )
  t.same(
    order,
    Array.from({ length: 500 }, (_, index) => index)
  )
})

t.test('a call that is not answered in time fails with NoReply', async (t) => {
  const { address } = await startBus(t)
  const [server, client] = [await connect(t, address), await connect(t, address)]
  const call = client.call({
    destination: server.uniqueName,
    path: '/a',
    interface: 'org.example.A',
    member: 'Never',
    timeout: 1
  })
  await t.rejects(call, { name: 'DBusError', type: 'org.freedesktop.DBus.Error.NoReply' })
})

t.test('losing the bus fails the pending calls and calls onClose once', async (t) => {
  const { address, daemon } = await startBus(t)
  const [server, client] = [await connect(t, address), await connect(t, address)]
  const arrived = new Promise<void>(
    (resolve) =>
      (server.onMethodCall = () => {
        resolve()
      })
  )
  const closed = new Promise<void>(
    (resolve) =>
      (client.onClose = () => {
        resolve()
      })
  )
  const call = client.call({ destination: server.uniqueName, path: '/a', interface: 'org.example.A', member: 'Never' })
  await arrived
  daemon.kill('SIGKILL')
  await t.rejects(call, { name: 'DBusError', type: 'org.freedesktop.DBus.Error.Disconnected' })
  await closed
  await t.rejects(client.call({ ...driver, member: 'ListNames' }), {
    name: 'DBusError',
    type: 'org.freedesktop.DBus.Error.Disconnected'
  })
  client.send({ type: 4, path: '/a', interface: 'org.example.A', member: 'Late' })
})

t.test('calls whose answers nobody fetches do not pile up in memory', async (t) => {
  const path = join(socketFolder(t), 'bus')
  const calls = 50_000
  const basics = { flags: 0, serial: 1, signature: '', body: [], fds: [] }
  const one = encodeMessage({ ...basics, type: 1, path: '/a', interface: 'org.example.A', member: 'Big' })
  const hello = encodeMessage({ ...basics, type: 2, replySerial: 1, signature: 's', body: [':1.1'] })
  let peer: Socket | undefined
  const server = createServer((socket: Socket) => {
    peer = socket
    socket.once('data', () => {
      socket.write('OK 1234\r\nAGREE_UNIX_FD\r\n')
      socket.write(hello)
      socket.on('data', () => undefined)
      socket.pause()
    })
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  const connection = await Connection.open(`unix:path=${path}`)
  t.teardown(() => {
    connection.close()
    peer?.destroy()
    server.close()
  })
  let answered = 0
  const body = [Buffer.alloc(4096)]
  connection.onMethodCall = () => {
    answered++
    connection.send({ type: 2, replySerial: 1, signature: 'ay', body })
  }
  // It asks and does not listen.
  for (let index = 0; index < calls; index++) peer?.write(one)
  for (let before = -1; answered !== before || answered === 0;) {
    before = answered
    for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate)
  }
  t.ok(answered < 3000, `${String(answered)} calls were read`)
  peer?.resume()
  while (answered < calls) await new Promise(setImmediate)
  t.equal(answered, calls, 'the others are read when the answers are fetched')
})

t.test('open fails when there is no bus, when we are refused and when the bus talks nonsense', async (t) => {
  await t.rejects(Connection.open('unix:path=/nowhere/bus'), { code: 'ENOENT' })
  await t.rejects(Connection.open('tcp:host=localhost'), TypeError)
  for (const answer of [
    'REJECTED EXTERNAL\r\n',
    'OK 1234\r\nAGREE_UNIX_FD\r\nnonsense nonsense nonsense',
    'x'.repeat(5000)
  ]) {
    const path = join(socketFolder(t), 'fake')
    const server = createServer((socket: Socket) => {
      socket.on('error', () => undefined)
      socket.once('data', () => socket.write(answer))
    })
    await new Promise<void>((resolve) => server.listen(path, resolve))
    await t.rejects(Connection.open(`unix:path=${path}`), Error)
    await new Promise((resolve) => server.close(resolve))
  }
})

import t from 'tap'
import dbus from 'dbus-next'
import { BusServer } from '../../../daemon/api/dbus/server.ts'
import { type InterfaceTable, method } from '../../../daemon/api/dbus/table.ts'
import { MachinedError, systemError } from '../../../daemon/base/errors.ts'
import { useSink } from '../../../daemon/base/log.ts'
import type { OutgoingMessage } from '../../../daemon/bus/connection.ts'
import { encodeMessage, MessageParser, type BusMessage } from '../../../daemon/bus/message.ts'
import type { PolkitAnswer, PolkitQuestion } from '../../../daemon/bus/polkit.ts'

interface Thing {
  name: string
  owner: number
}

const table: InterfaceTable<Thing> = {
  name: 'org.example.Thing',
  properties: { Name: { type: 's', emits: 'const', get: ({ name }) => name } },
  methods: {
    Join: method({
      in: { left: 's', right: 's' },
      out: { both: 's' },
      access: 'anyone',
      run: ({ name }: Thing, { left, right }) => [name + left + right]
    }),
    Fail: method({
      in: { how: 's' },
      out: {},
      access: 'anyone',
      run: (_: Thing, { how }) => {
        if (how === 'expected') throw new MachinedError('NoSuchMachine', "No machine 'x' known")
        if (how === 'errno') throw systemError(30, 'open')
        if (how === 'remote') throw new dbus.DBusError('a.b.C', 'verbatim')
        throw new TypeError('a secret')
      }
    }),
    Later: method({ in: {}, out: { name: 's' }, access: 'anyone', run: ({ name }: Thing) => Promise.resolve([name]) }),
    Erase: method({
      in: {},
      out: { name: 's', admin: 'b' },
      access: {
        actions: ['manage-machines'],
        rule: ({ name, owner }: Thing) => ({ action: 'manage-machines', details: { machine: name }, owner })
      },
      run: ({ name }, _args, _caller, { admin }) => [name, admin]
    })
  },
  signals: {}
}

/** A server whose replies are kept, a polkit that gives prepared answers, and UIDs by unique name. */
function setUp(answers: PolkitAnswer[] = [], onQuestion: () => void = () => undefined) {
  const sent: OutgoingMessage[] = []
  const questions: PolkitQuestion[] = []
  const uids = new Map([
    [':1.0', 0],
    [':1.1', 1000],
    [':1.2', 1001]
  ])
  const known = new Set<string>()
  const things = new Map([['a', { name: 'a', owner: 1001 }]])
  const server = new BusServer({
    connection: { send: (message) => sent.push(message) },
    authority: {
      check: (question) => {
        questions.push(question)
        onQuestion()
        const answer = answers.shift()
        return answer ? Promise.resolve(answer) : Promise.reject(new Error('not expected'))
      }
    },
    driver: {
      knownUid: (name) => (known.has(name) ? uids.get(name) : undefined),
      uid: (name) => {
        known.add(name)
        return Promise.resolve(uids.get(name) ?? -1)
      },
      pin: () => Promise.reject(new Error('not expected'))
    }
  })
  server.mount('/org/example', table, { name: 'root', owner: 0 })
  server.mountFallback(
    '/org/example/thing',
    table,
    (label) => things.get(label),
    () => [...things.keys()]
  )
  const call = (path: string, member: string, rest: Partial<BusMessage> = {}): void => {
    void server.handle({
      type: 1,
      flags: 0,
      serial: 7,
      path,
      interface: 'org.example.Thing',
      member,
      sender: ':1.1',
      signature: '',
      body: [],
      fds: [],
      ...rest
    })
  }
  /** The next reply: an error as its name and text, results as they are. */
  const reply = async (): Promise<unknown> => {
    for (let turn = 0; sent.length === 0 && turn < 100; turn++) await new Promise(setImmediate)
    const message = sent.shift()
    if (!message) return 'no reply'
    return message.type === 3
      ? [message.errorName?.replace('org.freedesktop.DBus.Error.', ''), ...(message.body ?? [])]
      : message.body
  }
  return { server, sent, questions, things, known, call, reply }
}

const thing = '/org/example/thing/a'

t.test('a call that needs no waiting is answered at once', (t) => {
  const { sent, call } = setUp()
  call('/org/example', 'Join', { signature: 'ss', body: ['b', 'c'] })
  t.match(sent, [{ type: 2, flags: 1, destination: ':1.1', replySerial: 7, signature: 's', body: ['rootbc'] }])
  call(thing, 'Join', { signature: 'ss', body: ['b', 'c'], interface: undefined })
  t.strictSame(sent[1]?.body, ['abc'])
  t.end()
})

t.test('what is not there', async (t) => {
  const { call, reply } = setUp()
  const ask = (path: string, name: string, member: string, signature = '', body: unknown[] = []): Promise<unknown> => {
    call(path, member, { interface: name, signature, body })
    return reply()
  }
  const peer = 'org.freedesktop.DBus.Peer'
  const properties = 'org.freedesktop.DBus.Properties'
  // All texts as systemd-timedated of systemd 252 gives them.
  t.strictSame(await ask('/nope', 'a.b', 'C'), ['UnknownObject', "Unknown object '/nope'."])
  t.strictSame(await ask('/', 'a.b', 'C'), ['UnknownObject', "Unknown object '/'."])
  t.strictSame(await ask('/org/example/thing', 'a.b', 'C'), ['UnknownMethod', 'Unknown method C or interface a.b.'])
  t.strictSame(await ask('/org/example/thing/b', 'a.b', 'C'), [
    'UnknownObject',
    "Unknown object '/org/example/thing/b'."
  ])
  t.strictSame(await ask(thing, 'a.b', 'C'), ['UnknownMethod', 'Unknown method C or interface a.b.'])
  t.strictSame(await ask(thing, 'org.example.Thing', 'toString'), [
    'UnknownMethod',
    'Unknown method toString or interface org.example.Thing.'
  ])
  t.strictSame(await ask(thing, 'org.example.Thing', 'Join', 's', ['x']), [
    'InvalidArgs',
    "Invalid arguments 's' to call org.example.Thing.Join(), expecting 'ss'."
  ])
  t.strictSame(await ask('/nope', peer, 'Ping'), [])
  t.strictSame(await ask('/nope', peer, 'Nope'), ['UnknownMethod', `Unknown method 'Nope' on interface '${peer}'.`])
  t.strictSame(await ask(thing, properties, 'Nope'), [
    'UnknownMethod',
    `Unknown method Nope or interface ${properties}.`
  ])
  t.strictSame(await ask(thing, properties, 'Get'), ['InvalidArgs', 'Expected interface and member parameters'])
  t.strictSame(await ask('/', properties, 'GetAll', 's', ['']), ['UnknownObject', "Unknown object '/'."])
  t.strictSame(await ask(thing, properties, 'GetAll', 's', ['']), [[['Name', new dbus.Variant('s', 'a')]]])
  t.strictSame(await ask(thing, properties, 'Set', 'ssv', ['org.example.Thing', 'Name', new dbus.Variant('s', 'b')]), [
    'PropertyReadOnly',
    "Property 'Name' is not writable."
  ])
})

t.test('every node on the way to an object can be introspected', async (t) => {
  const { call, reply } = setUp()
  const children = async (path: string): Promise<string[]> => {
    call(path, 'Introspect', { interface: 'org.freedesktop.DBus.Introspectable' })
    const [xml] = (await reply()) as [string]
    return [...xml.matchAll(/<node name="(.*)"\/>/g)].map(([, name]) => name ?? '')
  }
  t.strictSame(await children('/'), ['org'])
  t.strictSame(await children('/org'), ['example'])
  t.strictSame(await children('/org/example'), ['thing'])
  t.strictSame(await children('/org/example/thing'), ['a'])
  t.strictSame(await children(thing), [])
  call('/org/example/thing/b', 'Introspect', { interface: 'org.freedesktop.DBus.Introspectable' })
  t.strictSame(await reply(), ['UnknownObject', "Unknown object '/org/example/thing/b'."])
  call('/', 'Introspect', { interface: 'org.freedesktop.DBus.Introspectable', signature: 's', body: ['x'] })
  t.strictSame(await reply(), ['InvalidArgs', 'Expected no parameters'])
})

t.test('failures become error replies, bugs are logged and not told', async (t) => {
  const logged: string[] = []
  useSink(({ message }) => {
    logged.push(message)
  })
  const { call, reply } = setUp()
  const fail = (how: string): Promise<unknown> => {
    call(thing, 'Fail', { signature: 's', body: [how] })
    return reply()
  }
  t.strictSame(await fail('expected'), ['org.freedesktop.machine1.NoSuchMachine', "No machine 'x' known"])
  t.strictSame(await fail('errno'), ['System.Error.EROFS', 'Read-only file system'])
  t.strictSame(await fail('remote'), ['a.b.C', 'verbatim'])
  t.equal(logged.length, 0)
  t.strictSame(await fail('bug'), ['Failed', 'Internal error'])
  t.match(logged, [/a secret/])
})

t.test('a malformed body is told to its sender, and harms nobody else', async (t) => {
  const { server, reply } = setUp()
  const call = { type: 1, flags: 0, serial: 7, path: thing, interface: 'org.example.Thing', sender: ':1.1' } as const
  const bytes = encodeMessage({ ...call, member: 'Fail', signature: 'b', body: [true], fds: [] })
  bytes.writeUInt32LE(2, bytes.length - 4)
  const [message] = new MessageParser().push(bytes)
  t.ok(message)
  if (message) void server.handle(message)
  t.strictSame(await reply(), ['InconsistentMessage', 'Bad message'])
})

t.test('a caller that wants no reply gets none', async (t) => {
  const { sent, call } = setUp()
  call(thing, 'Later', { flags: 1 })
  call(thing, 'Nope', { flags: 1 })
  await new Promise(setImmediate)
  t.strictSame(sent, [])
})

const yes = { authorized: true, challenge: false, admin: true }
const no = { authorized: false, challenge: false, admin: false }

t.test('root and the owner need no polkit', async (t) => {
  const { call, reply, sent } = setUp()
  call(thing, 'Erase', { sender: ':1.0' })
  t.strictSame(await reply(), ['a', true])
  call(thing, 'Erase', { sender: ':1.2' })
  t.strictSame(await reply(), ['a', false])
  call(thing, 'Erase', { sender: ':1.0' })
  t.strictSame(sent[0]?.body, ['a', true], 'at once, as the UID is known now')
})

t.test('others are what polkit says', async (t) => {
  const { call, reply, questions } = setUp([yes, no, { ...no, challenge: true }])
  call(thing, 'Erase', { flags: 4 })
  t.strictSame(await reply(), ['a', true])
  call(thing, 'Erase')
  t.strictSame(await reply(), ['AccessDenied', 'Permission denied'])
  call(thing, 'Erase')
  const text =
    'Access denied as the requested operation requires interactive authentication. ' +
    'However, interactive authentication has not been enabled by the calling program.'
  t.strictSame(await reply(), ['InteractiveAuthorizationRequired', text])
  const question = {
    subject: { busName: ':1.1' },
    action: 'org.freedesktop.machine1.manage-machines',
    details: { machine: 'a' }
  }
  t.strictSame(
    questions,
    [true, false, false].map((interactive) => ({ ...question, interactive }))
  )
})

t.test('a machine that went away while polkit was asked', async (t) => {
  const { things, call, reply } = setUp([yes], () => things.delete('a'))
  call(thing, 'Erase')
  t.strictSame(await reply(), ['UnknownObject', `Unknown object '${thing}'.`])
})

t.test('a machine that became another while polkit was asked is authorized again', async (t) => {
  const first = setUp([yes, { ...yes, admin: false }], () => first.things.set('a', { name: 'other', owner: 5 }))
  first.call(thing, 'Erase')
  t.strictSame(await first.reply(), ['other', false])
  t.equal(first.questions.length, 2)

  let owner = 2000
  const restless = setUp([yes, yes, yes], () => restless.things.set('a', { name: 'a', owner: owner++ }))
  restless.call(thing, 'Erase')
  t.strictSame(await restless.reply(), ['AccessDenied', 'Permission denied'])
  t.equal(restless.questions.length, 2)
})

t.test('a sender whose calls all wait is refused more of them, and others are not', async (t) => {
  const { call, reply } = setUp()
  // All calls are made before the first of them can go on.
  for (let count = 0; count < 1024; count++) call('/org/example', 'Later', { flags: 1 })
  call('/org/example', 'Later')
  call('/org/example', 'Later', { sender: ':1.2' })
  t.strictSame(await reply(), ['LimitsExceeded', 'Too many calls in progress.'])
  t.strictSame(await reply(), ['root'])
  call('/org/example', 'Later')
  t.strictSame(await reply(), ['root'])
})

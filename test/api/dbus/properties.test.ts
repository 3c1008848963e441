import t from 'tap'
import dbus from 'dbus-next'
import { type BoundInterface, prepare } from '../../../daemon/api/dbus/binding.ts'
import { logControlTable } from '../../../daemon/api/dbus/log-control.ts'
import { getAllProperties, getProperty, setProperty } from '../../../daemon/api/dbus/properties.ts'
import type { Caller, InterfaceTable } from '../../../daemon/api/dbus/table.ts'

const table: InterfaceTable<{ name: string }> = {
  name: 'org.example.Thing',
  methods: {},
  properties: {
    Name: { type: 's', emits: 'const', get: ({ name }) => name },
    Alias: { type: 's', emits: 'const', hidden: true, get: ({ name }) => name }
  },
  signals: {}
}

const control = { identifier: 'systemd-machined', target: 'auto' }
const object: BoundInterface[] = [
  { ...prepare(table), target: { name: 'x' } },
  { ...prepare(logControlTable), target: control }
]
const log = 'org.freedesktop.LogControl1'

function callerWith(uid: number): Caller {
  return {
    name: ':1.5',
    message: { type: 1, flags: 0, serial: 1, signature: '', body: [], fds: [] },
    interactive: false,
    subject: () => ({ busName: ':1.5' }),
    uid: () => Promise.resolve(uid),
    pin: () => Promise.reject(new Error('not asked for'))
  }
}

t.test('Get', (t) => {
  t.strictSame(getProperty(object, 'org.example.Thing', 'Name'), new dbus.Variant('s', 'x'))
  t.strictSame(getProperty(object, 'org.example.Thing', 'Alias'), new dbus.Variant('s', 'x'))
  const unknown = { code: 'UnknownProperty', message: 'Unknown interface org.example.Thing or property toString.' }
  t.throws(() => getProperty(object, 'org.example.Thing', 'toString'), unknown)
  t.throws(() => getProperty(object, '', 'Name'), { code: 'UnknownProperty' })
  t.end()
})

const names = (values: readonly (readonly [string, unknown])[]): string[] => values.map(([name]) => name)

t.test('GetAll leaves out what is hidden, and knows all interfaces by the empty name', (t) => {
  t.strictSame(names(getAllProperties(object, 'org.example.Thing')), ['Name'])
  t.strictSame(names(getAllProperties(object, '')), ['Name', 'LogLevel', 'LogTarget', 'SyslogIdentifier'])
  t.strictSame(getAllProperties(object, 'org.freedesktop.DBus.Peer'), [])
  t.throws(() => getAllProperties(object, 'x.y'), { code: 'UnknownInterface', message: "Unknown interface 'x.y'." })
  t.end()
})

t.test('Set is for writable properties, right types, and root', async (t) => {
  const text = (value: string): dbus.Variant => new dbus.Variant('s', value)
  await setProperty(object, log, 'LogTarget', text('journal'), callerWith(0))
  t.equal(control.target, 'journal')
  const refusals: [string, dbus.Variant, number, { code: string; message?: string }][] = [
    [
      'SyslogIdentifier',
      text('x'),
      0,
      { code: 'PropertyReadOnly', message: "Property 'SyslogIdentifier' is not writable." }
    ],
    ['Nope', text('x'), 0, { code: 'UnknownProperty' }],
    [
      'LogTarget',
      new dbus.Variant('b', true),
      0,
      { code: 'InvalidArgs', message: "Incorrect parameters for property 'LogTarget', expected 's', got 'b'." }
    ],
    ['LogTarget', text('foo'), 0, { code: 'InvalidArgs', message: "Invalid log target 'foo'" }],
    ['LogLevel', text('foo'), 0, { code: 'InvalidArgs', message: "Invalid log level 'foo'" }],
    ['LogTarget', text('kmsg'), 1000, { code: 'AccessDenied' }]
  ]
  for (const [property, value, uid, error] of refusals) {
    await t.rejects(setProperty(object, log, property, value, callerWith(uid)), error)
  }
  t.equal(control.target, 'journal')
})

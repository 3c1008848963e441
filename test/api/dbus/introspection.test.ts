import t from 'tap'
import { interfaceXml, nodeXml } from '../../../daemon/api/dbus/introspection.ts'
import { logControlTable } from '../../../daemon/api/dbus/log-control.ts'
import { type InterfaceTable, method } from '../../../daemon/api/dbus/table.ts'

const table: InterfaceTable<null> = {
  name: 'org.example.Thing',
  properties: {
    Name: { type: 's', emits: 'const', get: () => '' },
    Old: { type: 's', emits: 'const', hidden: true, get: () => '' }
  },
  methods: {
    Do: method({ in: { name: 's' }, out: { path: 'o' }, access: 'anyone', run: () => [] }),
    Rest: method({ in: {}, out: {}, access: 'anyone', run: () => [] })
  },
  signals: { Done: { args: { name: 's', path: 'o' } } }
}

t.test('an interface is written as sd-bus writes it', (t) => {
  t.equal(
    interfaceXml(table),
    ` <interface name="org.example.Thing">
  <property name="Name" type="s" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="const"/>
  </property>
  <method name="Do">
   <arg type="s" name="name" direction="in"/>
   <arg type="o" name="path" direction="out"/>
  </method>
  <method name="Rest">
  </method>
  <signal name="Done">
   <arg type="s" name="name"/>
   <arg type="o" name="path"/>
  </signal>
 </interface>
`
  )
  t.end()
})

t.test('LogControl1 is the one that systemd services have', (t) => {
  // As systemd-timedated of systemd 252 answers.
  t.equal(
    interfaceXml(logControlTable),
    ` <interface name="org.freedesktop.LogControl1">
  <property name="LogLevel" type="s" access="readwrite">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
   <annotation name="org.freedesktop.systemd1.Privileged" value="true"/>
  </property>
  <property name="LogTarget" type="s" access="readwrite">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
   <annotation name="org.freedesktop.systemd1.Privileged" value="true"/>
  </property>
  <property name="SyslogIdentifier" type="s" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
 </interface>
`
  )
  t.end()
})

t.test('a node has the standard interfaces, then its own, then its children', (t) => {
  const xml = nodeXml([interfaceXml(table)], ['image', 'machine'])
  const names = [...xml.matchAll(/<interface name="(.*)">/g)].map(([, name]) => name)
  t.strictSame(names, [
    'org.freedesktop.DBus.Peer',
    'org.freedesktop.DBus.Introspectable',
    'org.freedesktop.DBus.Properties',
    'org.example.Thing'
  ])
  t.ok(xml.startsWith('<!DOCTYPE node PUBLIC '))
  t.ok(xml.endsWith('</interface>\n <node name="image"/>\n <node name="machine"/>\n</node>\n'))
  t.end()
})

import type { InterfaceTable, MethodRow, PropertyRow, SignalRow } from './table.ts'

const header = `<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
"https://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
<node>
`

/** The interfaces every object has, laid out as clients of sd-bus services know them. */
const standard = ` <interface name="org.freedesktop.DBus.Peer">
  <method name="Ping"/>
  <method name="GetMachineId">
   <arg type="s" name="machine_uuid" direction="out"/>
  </method>
 </interface>
 <interface name="org.freedesktop.DBus.Introspectable">
  <method name="Introspect">
   <arg name="xml_data" type="s" direction="out"/>
  </method>
 </interface>
 <interface name="org.freedesktop.DBus.Properties">
  <method name="Get">
   <arg name="interface_name" direction="in" type="s"/>
   <arg name="property_name" direction="in" type="s"/>
   <arg name="value" direction="out" type="v"/>
  </method>
  <method name="GetAll">
   <arg name="interface_name" direction="in" type="s"/>
   <arg name="props" direction="out" type="a{sv}"/>
  </method>
  <method name="Set">
   <arg name="interface_name" direction="in" type="s"/>
   <arg name="property_name" direction="in" type="s"/>
   <arg name="value" direction="in" type="v"/>
  </method>
  <signal name="PropertiesChanged">
   <arg type="s" name="interface_name"/>
   <arg type="a{sv}" name="changed_properties"/>
   <arg type="as" name="invalidated_properties"/>
  </signal>
 </interface>
`

function propertyXml<T>(name: string, row: PropertyRow<T>): string {
  if (row.hidden) return ''
  const access = row.write ? 'readwrite' : 'read'
  // A write that only root may do is marked as sd-bus marks it.
  const privileged = row.write ? '   <annotation name="org.freedesktop.systemd1.Privileged" value="true"/>\n' : ''
  return (
    `  <property name="${name}" type="${row.type}" access="${access}">\n` +
    `   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="${row.emits}"/>\n` +
    `${privileged}  </property>\n`
  )
}

function methodXml<T>(name: string, row: MethodRow<T>, { namelessArgs }: InterfaceTable<T>): string {
  const args = (shape: MethodRow<T>['in'], direction: string): string =>
    Object.entries(shape)
      .map(([arg, type]) => {
        const argName = namelessArgs === true ? '' : ` name="${arg}"`
        return `   <arg type="${type}"${argName} direction="${direction}"/>\n`
      })
      .join('')
  return `  <method name="${name}">\n${args(row.in, 'in')}${args(row.out, 'out')}  </method>\n`
}

function signalXml(name: string, row: SignalRow): string {
  const args = Object.entries(row.args).map(([arg, type]) => `   <arg type="${type}" name="${arg}"/>\n`)
  return `  <signal name="${name}">\n${args.join('')}  </signal>\n`
}

/** The introspection XML of one interface. */
export function interfaceXml<T>(table: InterfaceTable<T>): string {
  return (
    ` <interface name="${table.name}">\n` +
    Object.entries(table.properties)
      .map(([name, row]) => propertyXml(name, row))
      .join('') +
    Object.entries(table.methods)
      .map(([name, row]) => methodXml(name, row, table))
      .join('') +
    Object.entries(table.signals)
      .map(([name, row]) => signalXml(name, row))
      .join('') +
    ' </interface>\n'
  )
}

/** The introspection document of one object: the standard interfaces, its own (as XML), its children (as labels). */
export function nodeXml(interfaces: readonly string[], children: readonly string[]): string {
  const nodes = children.map((child) => ` <node name="${child}"/>\n`)
  return `${header}${standard}${interfaces.join('')}${nodes.join('')}</node>\n`
}

import type { BusDriver } from '../../bus/driver.ts'
import type { Connection } from '../../bus/connection.ts'
import type { Authority } from '../../bus/polkit.ts'
import type { Manager } from '../../manager.ts'
import type { Machine } from '../../machine/machine.ts'
import { IMAGE_PREFIX, imageTable } from './image.ts'
import { interfaceXml, nodeXml } from './introspection.ts'
import { logControlTable } from './log-control.ts'
import type { MachineTarget } from '../machine-access.ts'
import { machineTable } from './machine.ts'
import { MACHINE_PREFIX, machineOfCaller, machinePath, managerTable } from './manager.ts'
import { mountTable } from './mount.ts'
import { networkTable } from './network.ts'
import { escapeLabel, MANAGER_PATH, unescapeLabel } from './object-path.ts'
import { BusServer } from './server.ts'
import type { Caller } from './table.ts'

const LOG_CONTROL_PATH = '/org/freedesktop/LogControl1'

/** Where each interface is served; below the path, where that is a prefix of many objects. */
const INTERFACES: readonly (readonly [path: string, name: string, xml: string])[] = [
  [MANAGER_PATH, managerTable.name, interfaceXml(managerTable)],
  [MANAGER_PATH, mountTable.name, interfaceXml(mountTable)],
  [MANAGER_PATH, networkTable.name, interfaceXml(networkTable)],
  [MACHINE_PREFIX, machineTable.name, interfaceXml(machineTable)],
  [IMAGE_PREFIX, imageTable.name, interfaceXml(imageTable)],
  [LOG_CONTROL_PATH, logControlTable.name, interfaceXml(logControlTable)]
]

/**
 * What `--bus-introspect=` prints: for `list` the paths and interfaces, else the introspection XML of an object path
 * or interface (spec/dbus.md 1.1). Throws for any other word.
 */
export function busIntrospection(what: string): string {
  if (what === 'list') return INTERFACES.map(([path, name]) => `${path}\t${name}\n`).join('')
  const found = INTERFACES.find(([path, name]) => path === what || name === what)
  if (found === undefined) throw new Error(`Object path ${what} not found`)
  return nodeXml([found[2]], [])
}

/** Puts the manager's objects on the bus (spec/dbus.md 5) and turns its events into signals. */
export function serve(manager: Manager, connection: Connection, driver: BusDriver, authority: Authority): void {
  const server = new BusServer({ connection, authority, driver })
  server.mount(MANAGER_PATH, managerTable, manager)
  server.mount(MANAGER_PATH, mountTable, manager)
  server.mount(MANAGER_PATH, networkTable, manager)
  server.mountFallback(
    MACHINE_PREFIX,
    machineTable,
    (label, caller) => findMachine(manager, label, caller),
    () => manager.machines.names().map(escapeLabel)
  )
  server.mountFallback(
    IMAGE_PREFIX,
    imageTable,
    async (label) => {
      const image = await manager.images.find(unescapeLabel(label))
      return image && { manager, image }
    },
    async () => (await manager.images.list()).map(({ name }) => escapeLabel(name))
  )
  server.mount(LOG_CONTROL_PATH, logControlTable, { identifier: 'systemd-machined', target: 'auto' })
  connection.onMethodCall = (message) => server.handle(message)

  const announce = (member: string) => (machine: Machine) => {
    server.emitSignal(MANAGER_PATH, managerTable.name, member, 'so', [machine.name, machinePath(machine.name)])
  }
  manager.machines.on('new', announce('MachineNew'))
  manager.machines.on('removed', announce('MachineRemoved'))
}

/** `self` is the machine of whoever asks. */
function findMachine(
  manager: Manager,
  label: string,
  caller: Caller
): MachineTarget | undefined | Promise<MachineTarget | undefined> {
  const target = (machine: Machine | undefined): MachineTarget | undefined => machine && { manager, machine }
  if (label === 'self') return machineOfCaller(manager, caller).then(target)
  return target(manager.machines.find(unescapeLabel(label)))
}

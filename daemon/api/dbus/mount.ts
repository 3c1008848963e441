import type { Manager } from '../../manager.ts'
import { mountRule } from '../mount-access.ts'
import { method, type InterfaceTable } from './table.ts'

const mount = method({
  in: { name: 's', read_only: 'b', recursive: 'b' },
  out: { mount_point: 's' },
  access: {
    actions: ['mount-machine'],
    rule: (_manager: Manager, { name }) => mountRule(name, 'mount')
  },
  run: async (manager: Manager, { name, read_only, recursive }) => [
    await manager.mounts.mount(name, { readOnly: read_only, recursive })
  ]
})

const unmount = method({
  in: { name: 's', lazy: 'b' },
  out: {},
  access: {
    actions: ['mount-machine'],
    rule: (_manager: Manager, { name }) => mountRule(name, 'umount')
  },
  run: async (manager: Manager, { name, lazy }) => {
    await manager.mounts.unmount(name, { lazy })
    return []
  }
})

const listMounts = method({
  in: {},
  out: { mounts: 'a(ssb)' },
  access: 'anyone',
  run: (manager: Manager) => [
    manager.mounts
      .list()
      .map(({ name, mountPoint, readOnly }): [string, string, boolean] => [name, mountPoint, readOnly])
  ]
})

/** `io.machined.Mount`: roots of machines and images on the host, which the stock daemon does not mount. */
export const mountTable: InterfaceTable<Manager> = {
  name: 'io.machined.Mount',
  properties: {},
  methods: { Mount: mount, Unmount: unmount, ListMounts: listMounts },
  signals: {}
}

import { InUseError } from '../../machine/unmount.ts'
import type { Manager } from '../../manager.ts'
import { mountRule } from '../mount-access.ts'
import { VarlinkError } from './errors.ts'
import { interactiveAuthentication, readBoolean, readString } from './fields.ts'
import {
  array,
  boolean,
  field,
  integer,
  method,
  needed,
  optional,
  string,
  structure,
  type InterfaceTable
} from './schema.ts'

const rootMount = structure('RootMount', 'A root that is mounted on this system.', {
  name: field(string, 'The machine or image.'),
  mountPoint: field(string, 'Where its root is.'),
  readOnly: field(boolean, 'Whether it can only be read there.')
})

const holder = structure('Holder', 'A process that uses what is mounted.', {
  pid: field(integer, 'Its PID.'),
  name: field(string, 'The name it gives itself.')
})

const INTERFACE = 'io.machined.Mount'

const mount = method({
  doc: 'Mounts the root of a container on this system or, where no such machine runs, an image. One that is mounted already stays as it is.',
  in: {
    name: needed(string, 'The name of the machine or image.', readString),
    readOnly: optional(boolean, 'Whether it can only be read there. False if left out.', readBoolean),
    recursive: optional(
      boolean,
      "Whether with the machine's /proc, /sys and /dev, or with what is mounted in an image. False if left out.",
      readBoolean
    ),
    allowInteractiveAuthentication: interactiveAuthentication
  },
  out: { mountPoint: field(string, 'Where it is mounted.') },
  access: {
    actions: ['mount-machine'],
    rule: (_: Manager, { name }) => mountRule(name, 'mount')
  },
  run: async ({ mounts }: Manager, { name, readOnly = false, recursive = false }) => ({
    mountPoint: await mounts.mount(name, { readOnly, recursive })
  })
})

const unmount = method({
  doc: 'Takes such a mount away.',
  in: {
    name: needed(string, 'The name it was mounted by.', readString),
    lazy: optional(boolean, 'Whether also one that is in use. False if left out.', readBoolean),
    allowInteractiveAuthentication: interactiveAuthentication
  },
  out: {},
  access: {
    actions: ['mount-machine'],
    rule: (_: Manager, { name }) => mountRule(name, 'umount')
  },
  run: async ({ mounts }: Manager, { name, lazy = false }) => {
    try {
      await mounts.unmount(name, { lazy })
    } catch (error) {
      if (!(error instanceof InUseError)) throw error
      throw new VarlinkError(`${INTERFACE}.InUse`, { holders: error.holders })
    }
    return {}
  }
})

const listMounts = method({
  doc: 'Tells what is mounted.',
  in: {},
  out: { mounts: field(array(rootMount), 'All that is mounted.') },
  access: 'anyone',
  run: ({ mounts }: Manager) => ({
    mounts: mounts.list().map(({ name, mountPoint, readOnly }) => ({ name, mountPoint, readOnly }))
  })
})

/** `io.machined.Mount`, as on D-Bus. */
export const mountTable: InterfaceTable<Manager> = {
  name: INTERFACE,
  doc: 'Mounts the roots of machines and images on this system.',
  types: [holder, rootMount],
  methods: { Mount: mount, Unmount: unmount, ListMounts: listMounts },
  errors: {
    NoSuchMachine: { doc: 'There is neither a machine nor an image of this name.' },
    NotSupported: { doc: 'It is neither a container nor an image that can be mounted.' },
    InUse: {
      doc: 'Processes use what is mounted.',
      fields: { holders: field(array(holder), 'Some of them.') }
    }
  }
}

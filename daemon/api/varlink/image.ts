import type { Manager } from '../../manager.ts'
import { cloneImage, removeImage, updateImage } from './image-changes.ts'
import { listImages } from './image-list.ts'
import { cleanPool, cleanPoolMode, setPoolLimit } from './image-pool.ts'
import { acquireMetadata } from './machine-types.ts'
import type { InterfaceTable } from './schema.ts'

/** `io.systemd.MachineImage` (spec/varlink-and-clients.md A16). */
export const imageTable: InterfaceTable<Manager> = {
  name: 'io.systemd.MachineImage',
  doc: 'The images of machines on this system.',
  types: [acquireMetadata, cleanPoolMode],
  methods: {
    List: listImages,
    Update: updateImage,
    Clone: cloneImage,
    Remove: removeImage,
    SetPoolLimit: setPoolLimit,
    CleanPool: cleanPool
  },
  errors: {
    NoSuchImage: { doc: 'There is no such image.' },
    TooManyOperations: { doc: 'Too much is under way already.' },
    NotSupported: { doc: 'The file system cannot do this.' }
  }
}

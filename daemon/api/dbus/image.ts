import { MachinedError } from '../../base/errors.ts'
import { EncodedStruct } from '../../bus/codec.ts'
import { isValidImageName, type Image } from '../../image/image.ts'
import type { Manager } from '../../manager.ts'
import { cloneImage, markImageReadOnly, removeImage, renameImage, setImageLimit } from './image-changes.ts'
import { escapeLabel, MANAGER_PATH } from './object-path.ts'
import { method, type Args, type InterfaceTable, type MethodRow, type PropertyRow } from './table.ts'

export const IMAGE_PREFIX = `${MANAGER_PATH}/image`

/** An image with the manager that found it: what a call on an image object works on. */
export interface ImageTarget {
  readonly manager: Manager
  readonly image: Image
}

/** The object path of an image. */
export function imagePath(name: string): string {
  return `${IMAGE_PREFIX}/${escapeLabel(name)}`
}

export const getImage = method({
  in: { name: 's' },
  out: { image: 'o' },
  access: 'anyone',
  run: async (manager: Manager, { name }) => [imagePath((await manager.images.get(name)).name)]
})

export const listImages = method({
  in: {},
  out: { images: 'a(ssbttto)' },
  access: 'anyone',
  run: async (manager: Manager) => [(await manager.images.list()).map(rowOf)]
})

/** An image that changes becomes another object, and encoding a row takes many times as long as copying it. */
const rows = new WeakMap<Image, EncodedStruct>()

function rowOf(image: Image): EncodedStruct {
  let row = rows.get(image)
  if (row === undefined) {
    const { name, type, readOnly, created, modified, usage } = image
    row = new EncodedStruct('(ssbttto)', [name, type, readOnly, created, modified, usage, imagePath(name)])
    rows.set(image, row)
  }
  return row
}

export const getHostname = method({
  in: {},
  out: { hostname: 's' },
  access: 'anyone',
  run: async ({ manager, image }: ImageTarget) => [(await manager.metadata.read(image)).hostname]
})

export const getMachineID = method({
  in: {},
  out: { id: 'ay' },
  access: 'anyone',
  run: async ({ manager, image }: ImageTarget) => [Buffer.from((await manager.metadata.read(image)).machineId, 'hex')]
})

export const getMachineInfo = method({
  in: {},
  out: { machine_info: 'a{ss}' },
  access: 'anyone',
  run: async ({ manager, image }: ImageTarget) => [Object.fromEntries((await manager.metadata.read(image)).machineInfo)]
})

export const getOSRelease = method({
  in: {},
  out: { os_release: 'a{ss}' },
  access: 'anyone',
  run: async ({ manager, image }: ImageTarget) => [Object.fromEntries((await manager.metadata.read(image)).osRelease)]
})

/** A method of the image object, offered on the manager under the image's name. */
export function byImageName(row: MethodRow<ImageTarget>): MethodRow<Manager> {
  const target = async (manager: Manager, args: Args): Promise<ImageTarget> => {
    const name = args['name'] as string
    if (!isValidImageName(name)) throw new MachinedError('InvalidArgs', `Image name '${name}' is invalid.`)
    return { manager, image: await manager.images.get(name) }
  }
  const { access, run } = row
  return {
    in: { name: 's', ...row.in },
    out: row.out,
    access:
      access === 'anyone'
        ? access
        : { ...access, rule: async (manager, args, caller) => access.rule(await target(manager, args), args, caller) },
    run: async (manager, args, caller, grant) => run(await target(manager, args), args, caller, grant)
  }
}

function property(type: PropertyRow<ImageTarget>['type'], get: (image: Image) => unknown): PropertyRow<ImageTarget> {
  return { type, emits: 'false', get: ({ image }) => get(image) }
}

/** `org.freedesktop.machine1.Image` (spec/dbus.md 8.6). */
export const imageTable: InterfaceTable<ImageTarget> = {
  name: 'org.freedesktop.machine1.Image',
  namelessArgs: true,
  properties: {
    Name: property('s', ({ name }) => name),
    Path: property('s', ({ path }) => path),
    Type: property('s', ({ type }) => type),
    ReadOnly: property('b', ({ readOnly }) => readOnly),
    CreationTimestamp: property('t', ({ created }) => created),
    ModificationTimestamp: property('t', ({ modified }) => modified),
    Usage: property('t', ({ usage }) => usage),
    Limit: property('t', ({ limit }) => limit),
    UsageExclusive: property('t', ({ usageExclusive }) => usageExclusive),
    LimitExclusive: property('t', ({ limitExclusive }) => limitExclusive)
  },
  methods: {
    Remove: removeImage,
    Rename: renameImage,
    Clone: cloneImage,
    MarkReadOnly: markImageReadOnly,
    SetLimit: setImageLimit,
    GetHostname: getHostname,
    GetMachineID: getMachineID,
    GetMachineInfo: getMachineInfo,
    GetOSRelease: getOSRelease
  },
  signals: {}
}

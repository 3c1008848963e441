import { MachinedError } from '../../base/errors.ts'
import { EncodedStruct } from '../../bus/codec.ts'
import { isValidImageName, type Image } from '../../image/image.ts'
import type { MetadataReader } from '../../image/metadata.ts'
import type { IdentityPart, SystemIdentity } from '../../linux/system-identity.ts'
import type { Manager } from '../../manager.ts'
import { cloneImage, markImageReadOnly, removeImage, renameImage, setImageLimit } from './image-changes.ts'
import { escapeLabel, MANAGER_PATH } from './object-path.ts'
import { method, type Args, type InterfaceTable, type MethodRow, type PropertyRow, type Shape } from './table.ts'

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
  run: async (manager: Manager) => [rowsOf(await manager.images.list())]
})

/** What changes becomes another object, list or image, and encoding a row takes many times as long as copying it. */
const lists = new WeakMap<readonly Image[], EncodedStruct[]>()
const rows = new WeakMap<Image, EncodedStruct>()

function rowsOf(images: readonly Image[]): EncodedStruct[] {
  let list = lists.get(images)
  if (list === undefined) {
    list = EncodedStruct.join(images.map(rowOf))
    lists.set(images, list)
  }
  return list
}

function rowOf(image: Image): EncodedStruct {
  let row = rows.get(image)
  if (row === undefined) {
    const { name, type, readOnly, created, modified, usage } = image
    row = EncodedStruct.of('(ssbttto)', [name, type, readOnly, created, modified, usage, imagePath(name)])
    rows.set(image, row)
  }
  return row
}

/** A method that tells something of what is in an image. */
interface Telling {
  readonly ofImage: MethodRow<ImageTarget>
  /** The same on the Manager, by the image's name, which is looked up on the way. */
  readonly byName: MethodRow<Manager>
}

function telling<P extends IdentityPart>(part: P, out: Shape, tell: (value: SystemIdentity[P]) => unknown): Telling {
  const shape = { out, access: 'anyone' } as const
  const read = async (metadata: MetadataReader, of: Image | string): Promise<unknown[]> => [
    tell((await metadata.read(of, part))[part])
  ]
  return {
    ofImage: { ...shape, in: {}, run: ({ manager, image }) => read(manager.metadata, image) },
    byName: { ...shape, in: { name: 's' }, run: ({ metadata }, args) => read(metadata, checkedName(args)) }
  }
}

export const getHostname = telling('hostname', { hostname: 's' }, (hostname) => hostname)
export const getMachineID = telling('machineId', { id: 'ay' }, (id) => Buffer.from(id, 'hex'))
export const getMachineInfo = telling('machineInfo', { machine_info: 'a{ss}' }, (info) => Object.fromEntries(info))
export const getOSRelease = telling('osRelease', { os_release: 'a{ss}' }, (release) => Object.fromEntries(release))

/** The name of an image that a call of the Manager is about. Throws InvalidArgs. */
function checkedName(args: Args): string {
  const name = args['name'] as string
  if (!isValidImageName(name)) throw new MachinedError('InvalidArgs', `Image name '${name}' is invalid.`)
  return name
}

/** A method of the image object, offered on the manager under the image's name. */
export function byImageName(row: MethodRow<ImageTarget>): MethodRow<Manager> {
  const target = async (manager: Manager, args: Args): Promise<ImageTarget> => ({
    manager,
    image: await manager.images.get(checkedName(args))
  })
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
    GetHostname: getHostname.ofImage,
    GetMachineID: getMachineID.ofImage,
    GetMachineInfo: getMachineInfo.ofImage,
    GetOSRelease: getOSRelease.ofImage
  },
  signals: {}
}

import { MachinedError } from '../../base/errors.ts'
import { type Image, UNKNOWN_SIZE } from '../../image/image.ts'
import type { Manager } from '../../manager.ts'
import type { Call } from './call.ts'
import { expectedMore } from './errors.ts'
import { interactiveAuthentication, readImageName, readString, strings } from './fields.ts'
import { wide } from './json.ts'
import { acquireMetadata } from './machine-types.ts'
import { boolean, field, integer, maybe, method, optional, string, type MethodRow, type Output } from './schema.ts'

const onlyMetadata = 'Only with metadata.'
const onlyKnown = 'Left out where it is not known.'

const record = {
  name: field(string, 'Its name.'),
  path: maybe(string, 'Where it is.'),
  type: field(string, 'What it is made of: directory, subvolume, raw, block or mstack.'),
  class: field(string, 'What it is an image of: always a machine here.'),
  readOnly: field(boolean, 'Whether it can only be read.'),
  creationTimestamp: maybe(integer, `When it was made, in microseconds since 1970. ${onlyKnown}`),
  modificationTimestamp: maybe(integer, `When it was last changed, in microseconds since 1970. ${onlyKnown}`),
  usage: maybe(integer, `The bytes it takes. ${onlyKnown}`),
  usageExclusive: maybe(integer, `The bytes that it alone takes. ${onlyKnown}`),
  limit: maybe(integer, 'The bytes it may take. Left out where there is no limit.'),
  limitExclusive: maybe(integer, 'The bytes that it alone may take. Left out where there is no limit.'),
  hostname: maybe(string, `The host name set in it. ${onlyMetadata}`),
  machineId: maybe(string, `The 128 bit machine ID in it, in hexadecimal. ${onlyMetadata}`),
  machineInfo: maybe(strings, `Its machine-info(5), as assignments without quotes. ${onlyMetadata}`),
  OSRelease: maybe(strings, `Its os-release(5), as assignments without quotes. ${onlyMetadata}`)
}

/** `io.systemd.MachineImage.List` (spec/varlink-and-clients.md A16). */
export const listImages: MethodRow<Manager> = method({
  doc: 'Tells of one image, or of all: that takes the more flag, and gives one reply for each.',
  more: 'supported',
  in: {
    name: optional(string, 'The name of the image; `.host` is this system.', readImageName),
    acquireMetadata: optional(acquireMetadata, 'Whether to look into the images, too. No if left out.', readString),
    allowInteractiveAuthentication: interactiveAuthentication
  },
  out: record,
  access: {
    actions: ['inspect-images'],
    // What is seen from outside everybody is told, which an owner nobody else can be stands for.
    rule: (_: Manager, { name, acquireMetadata: wanted = 'no' }, call) => ({
      action: 'inspect-images',
      details: { name: name ?? 'n/a' },
      ...(wanted === 'no' && { owner: call.uid() })
    })
  },
  run: async (manager, { name, acquireMetadata: wanted = 'no' }, call) => {
    if (name === undefined && !call.request.more) throw expectedMore()
    const images = name === undefined ? await manager.images.list() : [await manager.images.get(name)]
    if (images.length === 0) throw new MachinedError('NoSuchImage', 'No image known')
    return wanted === 'no' ? images.map((image) => describe(image)) : describeWithin(images, manager, wanted, call)
  }
})

/** Looks into one after the other, as each may take a process. */
async function describeWithin(
  images: readonly Image[],
  manager: Manager,
  wanted: string,
  { signal }: Call
): Promise<Output[]> {
  const described: Output[] = []
  for (const image of images) {
    signal.throwIfAborted()
    described.push(describe(image, await metadataOf(image, manager, wanted)))
  }
  return described
}

function describe(image: Image, metadata: Output = {}): Output {
  const { created, modified, usage, usageExclusive, limit, limitExclusive } = image
  return {
    name: image.name,
    path: image.path === '' ? undefined : image.path,
    type: image.type,
    class: 'machine',
    readOnly: image.readOnly,
    creationTimestamp: time(created),
    modificationTimestamp: time(modified),
    usage: sizeIfKnown(usage),
    usageExclusive: sizeIfKnown(usageExclusive),
    limit: sizeIfKnown(limit),
    limitExclusive: sizeIfKnown(limitExclusive),
    ...metadata
  }
}

function time(microseconds: bigint): number | bigint | undefined {
  return microseconds === 0n ? undefined : wide(microseconds)
}

/** Bytes; undefined for what nobody knows or limits. */
export function sizeIfKnown(bytes: bigint): number | bigint | undefined {
  return bytes === UNKNOWN_SIZE ? undefined : wide(bytes)
}

async function metadataOf(image: Image, { metadata }: Manager, wanted: string): Promise<Output> {
  try {
    const { hostname, machineId, machineInfo, osRelease } = await metadata.read(image)
    return {
      hostname: hostname === '' ? undefined : hostname,
      machineId: /^0*$/.test(machineId) ? undefined : machineId,
      machineInfo: assignments(machineInfo),
      OSRelease: assignments(osRelease)
    }
  } catch (error) {
    if (wanted === 'graceful') return {}
    throw error
  }
}

function assignments(pairs: readonly (readonly [string, string])[]): string[] | undefined {
  return pairs.length === 0 ? undefined : pairs.map(([key, value]) => `${key}=${value}`)
}

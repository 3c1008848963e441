import { MachinedError } from '../../base/errors.ts'
import type { CleanMode } from '../../image/image-changes.ts'
import { UNKNOWN_SIZE } from '../../image/image.ts'
import type { Manager } from '../../manager.ts'
import { interactiveAuthentication, readSize } from './fields.ts'
import { sizeIfKnown } from './image-list.ts'
import { BadValue, enumeration, field, integer, maybe, method, needed, type Output, string } from './schema.ts'
import type { Json } from './json.ts'

const MOST_BYTES = 2n ** 63n

export const cleanPoolMode = enumeration('CleanPoolMode', 'Which images are removed.', {
  all: 'All that are not in use.',
  hidden: 'Those that are hidden and not in use.'
})

/** All ones take the limit away. */
function readPoolLimit(value: Json): bigint {
  const limit = readSize(value)
  if (limit >= MOST_BYTES && limit !== UNKNOWN_SIZE) throw new BadValue()
  return limit
}

/* Polkit is asked for images here, and for machines on D-Bus (spec/varlink-and-clients.md A16). */

export const setPoolLimit = method({
  doc: 'Limits the bytes that all images of the pool may take together.',
  in: {
    allowInteractiveAuthentication: interactiveAuthentication,
    limit: needed(integer, 'The bytes; 18446744073709551615 for no limit.', readPoolLimit)
  },
  out: {},
  access: {
    actions: ['manage-images'],
    rule: () => ({ action: 'manage-images', details: { verb: 'set_pool_limit' } })
  },
  run: async (manager: Manager, { limit }) => {
    await manager.imageChanges.setPoolLimit(limit)
    return {}
  }
})

export const cleanPool = method({
  doc: 'Removes images that are not in use, and tells of each; images of the operating system and the host stay.',
  more: 'required',
  in: {
    allowInteractiveAuthentication: interactiveAuthentication,
    mode: needed(cleanPoolMode, 'Which images.', (value) => value as CleanMode)
  },
  out: {
    name: field(string, 'An image that was removed.'),
    usageExclusive: maybe(integer, 'The bytes that it alone took. Left out where it is not known.')
  },
  access: {
    actions: ['manage-images'],
    rule: (manager: Manager, { mode }) => {
      manager.imageChanges.requirePlace('clean')
      return { action: 'manage-images', details: { mode, verb: 'clean_pool' } }
    }
  },
  run: async (manager: Manager, { mode }, call) => {
    // Each is told of once it is clear whether it is the last.
    let last: Output | undefined
    const tellOfLast = (): void => {
      if (last !== undefined) call.replyAndGoOn(last)
    }
    try {
      await manager.imageChanges.clean(mode, ({ name, usageExclusive }) => {
        tellOfLast()
        last = { name, usageExclusive: sizeIfKnown(usageExclusive) }
      })
    } catch (error) {
      tellOfLast()
      throw error
    }
    if (last === undefined) throw new MachinedError('NoSuchImage', 'There is no image to remove')
    return last
  }
})

import { checkNewName } from '../../image/image-changes.ts'
import { checkLimit } from '../../image/pool.ts'
import { changeImageRule, limitImageRule } from '../image-access.ts'
import type { ImageTarget } from './image.ts'
import { method } from './table.ts'

/* The methods that change images; on the Image interface, and under the image's name on the Manager. */

export const removeImage = method({
  in: {},
  out: {},
  access: {
    actions: ['manage-images'],
    rule: ({ manager, image }: ImageTarget) => {
      manager.imageChanges.requirePlace('remove')
      return changeImageRule(image, 'remove')
    }
  },
  run: async ({ manager, image }: ImageTarget) => {
    await manager.imageChanges.remove(image)
    return []
  }
})

export const renameImage = method({
  in: { new_name: 's' },
  out: {},
  access: {
    actions: ['manage-images'],
    rule: ({ image }: ImageTarget, { new_name }) => {
      checkNewName(new_name)
      return changeImageRule(image, 'rename', { new_name })
    }
  },
  run: async ({ manager, image }: ImageTarget, { new_name }) => {
    await manager.imageChanges.rename(image, new_name)
    return []
  }
})

export const cloneImage = method({
  in: { new_name: 's', read_only: 'b' },
  out: {},
  access: {
    actions: ['manage-images'],
    rule: ({ manager, image }: ImageTarget, { new_name }) => {
      manager.imageChanges.requirePlace('clone')
      checkNewName(new_name)
      return changeImageRule(image, 'clone', { new_name })
    }
  },
  run: async ({ manager, image }: ImageTarget, { new_name, read_only }) => {
    await manager.imageChanges.clone(image, new_name, read_only)
    return []
  }
})

export const markImageReadOnly = method({
  in: { read_only: 'b' },
  out: {},
  access: {
    actions: ['manage-images'],
    rule: ({ image }: ImageTarget, { read_only }) =>
      changeImageRule(image, 'mark_read_only', { read_only: read_only ? '1' : '0' })
  },
  run: async ({ manager, image }: ImageTarget, { read_only }) => {
    await manager.imageChanges.setReadOnly(image, read_only)
    return []
  }
})

export const setImageLimit = method({
  in: { size: 't' },
  out: {},
  access: {
    actions: ['manage-images'],
    rule: ({ image }: ImageTarget, { size }) => {
      checkLimit(size)
      return limitImageRule(image)
    }
  },
  run: async ({ manager, image }: ImageTarget, { size }) => {
    await manager.imageChanges.setLimit(image, size)
    return []
  }
})

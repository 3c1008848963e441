import { parseCleanMode } from '../../image/image-changes.ts'
import { checkLimit } from '../../image/pool.ts'
import type { Manager } from '../../manager.ts'
import { poolRule } from '../image-access.ts'
import { method, type PropertyRow } from './table.ts'

/* What the Manager offers about the directory that holds images. */

export const setPoolLimit = method({
  in: { size: 't' },
  out: {},
  access: {
    actions: ['manage-machines'],
    rule: (_: Manager, { size }) => {
      checkLimit(size)
      return poolRule('set_pool_limit')
    }
  },
  run: async (manager: Manager, { size }) => {
    await manager.imageChanges.setPoolLimit(size)
    return []
  }
})

export const cleanPool = method({
  in: { mode: 's' },
  out: { images: 'a(st)' },
  access: {
    actions: ['manage-machines'],
    rule: (manager: Manager, { mode }) => {
      manager.imageChanges.requirePlace('clean')
      return poolRule('clean_pool', { mode: parseCleanMode(mode) })
    }
  },
  run: async (manager: Manager, { mode }) => {
    const removed = await manager.imageChanges.clean(parseCleanMode(mode))
    return [removed.map(({ name, usageExclusive }): [string, bigint] => [name, usageExclusive])]
  }
})

/** Read anew each time (spec/dbus.md 8.9). */
export const poolProperties: Readonly<Record<string, PropertyRow<Manager>>> = {
  PoolPath: { type: 's', emits: 'false', get: ({ images }) => images.places.pool },
  PoolUsage: { type: 't', emits: 'false', get: async ({ imageChanges }) => (await imageChanges.poolSize()).usage },
  PoolLimit: { type: 't', emits: 'false', get: async ({ imageChanges }) => (await imageChanges.poolSize()).limit }
}

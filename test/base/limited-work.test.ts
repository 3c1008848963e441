import t from 'tap'
import { setImmediate } from 'node:timers/promises'
import { LimitedWork, type Work } from '../../daemon/base/limited-work.ts'

/** Work that is begun when there is room, and ends when told to. */
function setUp(limits: { most: number; slowMs: number; mostSlow: number }): {
  begun: string[]
  begin: (name: string) => Promise<string>
  end: (name: string) => void
} {
  const work = new LimitedWork(limits)
  const begun: string[] = []
  const ends = new Map<string, () => void>()
  const begin = (name: string): Work<string> => {
    begun.push(name)
    return { result: Promise.resolve(name), ended: new Promise((resolve) => ends.set(name, resolve)) }
  }
  return { begun, begin: (name) => work.do(() => begin(name)), end: (name) => ends.get(name)?.() }
}

t.test('no more is begun than may be under way, in the order in which it came', async (t) => {
  const { begun, begin, end } = setUp({ most: 2, slowMs: 1_000_000, mostSlow: 1 })
  const all = ['a', 'b', 'c', 'd'].map(begin)
  await setImmediate()
  t.same(begun, ['a', 'b'])
  end('b')
  await setImmediate()
  t.same(begun, ['a', 'b', 'c'], 'what has a result may be under way still')
  const late = begin('e')
  end('a')
  await setImmediate()
  t.same(begun, ['a', 'b', 'c', 'd'])
  for (const name of ['c', 'd']) end(name)
  await setImmediate()
  end('e')
  t.same(await Promise.all([...all, late]), ['a', 'b', 'c', 'd', 'e'])
})

t.test('what takes long makes room, as often as it may', async (t) => {
  const { begun, begin, end } = setUp({ most: 1, slowMs: 1, mostSlow: 2 })
  const all = ['a', 'b', 'c', 'd'].map(begin)
  while (begun.length < 3) await setImmediate()
  t.same(begun, ['a', 'b', 'c'])
  await t.rejects(begin('e'), { code: 'EBUSY' })
  end('a')
  end('c')
  await all[3]
  t.same(begun, ['a', 'b', 'c', 'd'])
  end('b')
  end('d')
  t.same(await Promise.all(all), ['a', 'b', 'c', 'd'])
})

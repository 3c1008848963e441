import t from 'tap'
import { setImmediate } from 'node:timers/promises'
import { SharedWork, SharedWorks } from '../../daemon/base/shared-work.ts'

t.test('who comes while work is under way shares the next run', async (t) => {
  const runs: { resolve: (value: number) => void; reject: (error: Error) => void }[] = []
  let idle = 0
  const work = new SharedWork<number>(
    () => new Promise((resolve, reject) => runs.push({ resolve, reject })),
    () => idle++
  )
  const first = work.run()
  const [second, third] = [work.run(), work.run()]
  await setImmediate()
  t.equal(runs.length, 1)
  runs[0]?.reject(new Error('first'))
  await t.rejects(first, { message: 'first' })
  await setImmediate()
  t.equal(runs.length, 2, 'a failure of the first is no failure of the next')
  t.equal(idle, 0)
  const fourth = work.run()
  runs[1]?.resolve(2)
  t.same(await Promise.all([second, third]), [2, 2])
  await setImmediate()
  runs[2]?.resolve(3)
  t.equal(await fourth, 3)
  await setImmediate()
  t.equal(idle, 1)
  void work.run()
  t.equal(runs.length, 4, 'one that comes later is begun at once')
})

t.test('work for one subject is not shared with that for another, and not kept', async (t) => {
  const begun: string[] = []
  const works = new SharedWorks<string>()
  const run = (subject: string): Promise<string> =>
    works.run(subject, async () => {
      const number = begun.push(subject)
      await setImmediate()
      return `${subject} ${String(number)}`
    })
  t.same(await Promise.all(['a', 'a', 'b', 'a'].map(run)), ['a 1', 'a 3', 'b 2', 'a 3'])
  t.same(begun, ['a', 'b', 'a'])
  await setImmediate()
  t.equal(await works.run('a', () => Promise.resolve('new')), 'new', 'what was brought before is forgotten')
})

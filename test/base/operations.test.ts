import t from 'tap'
import { MOST_OPERATIONS, Operations, type Operation } from '../../daemon/base/operations.ts'

/** Work that goes on until told to end. */
function openWork(): { work: (operation: Operation) => Promise<string>; operation: () => Operation; end: () => void } {
  let end: (value: string) => void = () => undefined
  let begun: Operation | undefined
  const result = new Promise<string>((resolve) => (end = resolve))
  return {
    work: (operation) => {
      begun = operation
      return result
    },
    operation: () => begun as Operation,
    end: () => {
      end('done')
    }
  }
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

t.test('gives what the work comes to, and is listed meanwhile', async (t) => {
  const operations = new Operations()
  const machine = { name: 'm' }
  const { work, operation, end } = openWork()
  const result = operations.run('copy', machine, work)
  t.strictSame([...operations.all()], [operation()])
  t.match(operation(), { kind: 'copy', subject: machine, progress: { bytes: 0, files: 0 } })
  operation().reportFrom(() => ({ bytes: 7, files: 1 }))
  t.strictSame(operation().progress, { bytes: 7, files: 1 })
  end()
  t.equal(await result, 'done')
  t.strictSame([...operations.all()], [])
  await t.rejects(
    operations.run('copy', machine, () => Promise.reject(new Error('broken'))),
    { message: 'broken' }
  )
  t.strictSame([...operations.all()], [])
})

t.test('tells who listens of each that begins, moves and ends', async (t) => {
  const operations = new Operations()
  const seen: unknown[][] = []
  for (const event of ['begun', 'moved', 'ended'] as const) {
    operations.on(event, ({ id, kind }: Operation, failure?: unknown) => {
      seen.push([event, id, kind, ...(failure === undefined ? [] : [failure])])
    })
  }
  const { work, operation, end } = openWork()
  const result = operations.run('remove', { name: 'image' }, work)
  operation().moved()
  end()
  await result
  const failure = new Error('broken')
  await t.rejects(operations.run('clone', undefined, () => Promise.reject(failure)))
  t.strictSame(seen, [
    ['begun', 1, 'remove'],
    ['moved', 1, 'remove'],
    ['ended', 1, 'remove'],
    ['begun', 2, 'clone'],
    ['ended', 2, 'clone', failure]
  ])
})

t.test('there are at most 64, of all kinds together', async (t) => {
  const operations = new Operations()
  const works = Array.from({ length: MOST_OPERATIONS }, openWork)
  const results = works.map(({ work }, index) => operations.run(index % 2 === 0 ? 'copy' : 'clone', undefined, work))
  const full = { code: 'LimitsExceeded', message: 'Too many ongoing copies.' }
  t.throws(() => {
    operations.requirePlace('copy')
  }, full)
  await t.rejects(operations.run('copy', undefined, openWork().work), full)
  await t.rejects(operations.run('clean', undefined, openWork().work), { message: 'Too many ongoing operations.' })
  for (const { end } of works) end()
  await Promise.all(results)
  operations.requirePlace('copy')
})

t.test('a cancelled one is over for the caller at once, and keeps its place until it has stopped', async (t) => {
  const operations = new Operations()
  const { work, operation, end } = openWork()
  const result = operations.run('copy', undefined, work)
  operation().cancel()
  await t.rejects(result, { code: 'ECANCELED' })
  t.throws(
    () => {
      operation().signal.throwIfAborted()
    },
    { code: 'ECANCELED' }
  )
  t.equal([...operations.all()].length, 1)
  end()
  await settled()
  t.equal([...operations.all()].length, 0)
})

t.test('work that fails after it was cancelled is nobody else’s concern', async (t) => {
  const operations = new Operations()
  const result = operations.run('copy', undefined, async ({ signal }) => {
    await settled()
    signal.throwIfAborted()
  })
  operations.close()
  await t.rejects(result, { code: 'ECANCELED' })
  await settled()
  t.equal([...operations.all()].length, 0)
})

t.test('they end with what they belong to, or all with the daemon', async (t) => {
  const operations = new Operations()
  const [machine, other] = [{ name: 'm' }, { name: 'other' }]
  const works = [openWork(), openWork(), openWork()]
  const [one, two, three] = works.map(({ work }, index) =>
    operations.run('copy', index === 0 ? machine : other, work)
  ) as [Promise<string>, Promise<string>, Promise<string>]
  operations.cancelOf(machine)
  await t.rejects(one, { code: 'ECANCELED' })
  works[1]?.end()
  t.equal(await two, 'done')
  operations.close()
  await t.rejects(three, { code: 'ECANCELED' })
  let begun = false
  await t.rejects(
    operations.run('copy', undefined, async () => {
      begun = true
    }),
    { code: 'ECANCELED' }
  )
  t.notOk(begun)
})

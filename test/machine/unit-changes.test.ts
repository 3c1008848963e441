import t from 'tap'
import { UnitChanges } from '../../daemon/machine/unit-changes.ts'

t.test('a change between two looks is not missed, and counts once', async (t) => {
  const changes = new UnitChanges()
  using watch = changes.watch('a.scope')
  changes.report('a.scope')
  changes.report('b.scope')
  t.equal(await watch.changed(60_000), true)
  t.equal(await watch.changed(0), false)
})

t.test('who waits already is woken, whoever else watches the unit', async (t) => {
  const changes = new UnitChanges()
  using first = changes.watch('a.scope')
  changes.watch('a.scope')[Symbol.dispose]()
  const changed = first.changed(60_000)
  changes.report('a.scope')
  t.equal(await changed, true)
})

t.test('a change of another unit wakes nobody', async (t) => {
  const changes = new UnitChanges()
  using watch = changes.watch('a.scope')
  const changed = watch.changed(1)
  changes.report('b.scope')
  t.equal(await changed, false)
})

import t from 'tap'
import { ScopeJobs } from '../../daemon/machine/scope-jobs.ts'

t.test('the end of a job is known even when it came before anybody waited', async (t) => {
  const jobs = new ScopeJobs()
  using pending = jobs.expect('a.scope')
  jobs.ended('a.scope', '/job/1', 'done')
  t.equal(await pending.result('/job/1'), 'done')
})

t.test('other jobs of the unit and jobs of other units do not count', async (t) => {
  const jobs = new ScopeJobs()
  using pending = jobs.expect('a.scope')
  const result = pending.result('/job/1')
  jobs.ended('a.scope', '/job/2', 'done')
  jobs.ended('b.scope', '/job/1', 'done')
  jobs.ended('a.scope', '/job/1', 'failed')
  t.equal(await result, 'failed')
})

t.test('who waits for a unit that nobody needs any more is told', async (t) => {
  const jobs = new ScopeJobs()
  using pending = jobs.expect('a.scope')
  const result = pending.result('/job/1')
  jobs.cancel('a.scope')
  t.equal(await result, 'canceled')
})

t.test('a later expectation of the same unit outlives the end of an earlier one', async (t) => {
  const jobs = new ScopeJobs()
  const earlier = jobs.expect('a.scope')
  using later = jobs.expect('a.scope')
  earlier[Symbol.dispose]()
  jobs.ended('a.scope', '/job/2', 'done')
  t.equal(await later.result('/job/2'), 'done')
})

import { readdirSync } from 'node:fs'
import t, { type Test } from 'tap'
import { NamespaceWorkers } from '../../daemon/linux/namespace-workers.ts'
import { PidRef } from '../../daemon/linux/process.ts'

// Machines that do not answer are in test/daemon/hostile-machines.test.ts.

const skip = process.getuid?.() !== 0

function start(t: Test): NamespaceWorkers {
  const workers = new NamespaceWorkers()
  t.teardown(() => {
    workers.close()
  })
  return workers
}

const descriptors = (): number => readdirSync('/proc/self/fd').length

t.test('machines take turns, and to wait costs no descriptor', { skip }, async (t) => {
  const workers = start(t)
  using self = PidRef.pin(process.pid)
  const [greedy, modest] = [{}, {}]
  await workers.run(modest, { leader: self }, 'readOSRelease', { keep: false })
  const before = descriptors()
  const order: string[] = []
  const ask = async (name: string, key: object): Promise<void> => {
    await workers.run(key, { leader: self }, 'readOSRelease', { keep: false })
    order.push(name)
  }
  const all = [...Array.from({ length: 200 }, () => ask('greedy', greedy)), ask('modest', modest)]
  t.ok(descriptors() < before + 50)
  await Promise.all(all)
  t.ok(order.indexOf('modest') < 20)
})

t.test('a leader that is let go of while tasks wait gives ESRCH', { skip }, async (t) => {
  const workers = start(t)
  const leader = PidRef.pin(process.pid)
  const results = [1, 2].map(() => workers.run({}, { leader }, 'readOSRelease', { keep: false }))
  leader.close()
  for (const result of results) await t.rejects(result, { code: 'ESRCH' })
})

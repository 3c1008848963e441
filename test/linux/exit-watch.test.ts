import { spawn } from 'node:child_process'
import t from 'tap'
import { watchExit } from '../../daemon/linux/exit-watch.ts'
import { PidRef } from '../../daemon/linux/process.ts'

/** A process that lives till it is ended, and a hold on it. */
function start(): { process: PidRef; pidfd: number; end: () => void } {
  const child = spawn('sleep', ['infinity'])
  const process = PidRef.pin(child.pid ?? 0)
  const { pidfd } = process
  if (pidfd === undefined) throw new Error('There are no pidfds here')
  return { process, pidfd, end: () => child.kill('SIGKILL') }
}

t.test('tells of each process once', async (t) => {
  const all = Array.from({ length: 100 }, start)
  const seen: number[] = []
  await new Promise<void>((resolve) => {
    all.forEach(({ pidfd, process }, index) => {
      watchExit(pidfd, () => {
        t.notOk(process.isAlive())
        if (seen.push(index) === all.length) resolve()
      })
    })
    for (const { end } of all) end()
  })
  t.strictSame(
    seen.sort((a, b) => a - b),
    all.map((_, index) => index)
  )
  for (const { process } of all) process.close()
})

t.test('a watch that was ended tells nothing, and ends no other', async (t) => {
  const [one, other] = [start(), start()]
  const watch = watchExit(one.pidfd, () => t.fail('it was not to be told'))
  t.throws(() => watchExit(one.pidfd, () => undefined), { code: 'EEXIST' })
  watch.close()
  watch.close()
  one.end()
  await new Promise<void>((resolve) => {
    const over = watchExit(other.pidfd, () => {
      over.close()
      resolve()
    })
    other.end()
  })
  one.process.close()
  other.process.close()
})

t.test('one process can be watched very often', async () => {
  const { process, end } = start()
  const clones = Array.from({ length: 1200 }, () => process.clone())
  const all = clones.map(
    ({ pidfd }) =>
      new Promise<void>((resolve) => {
        watchExit(pidfd ?? -1, resolve)
      })
  )
  end()
  await Promise.all(all)
  for (const clone of [process, ...clones]) clone.close()
})

t.test('a process that has ended and been seen to is held on to all the same', async (t) => {
  const { process, pidfd, end } = start()
  await new Promise<void>((resolve) => {
    watchExit(pidfd, resolve)
    end()
  })
  using clone = process.clone()
  t.equal(clone.pid, process.pid)
  t.notOk(clone.isAlive())
  process.close()
})

import t from 'tap'
import * as fs from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { nameOf } from '../../daemon/linux/file-at.ts'
import { FileStatuses } from '../../daemon/linux/file-statuses.ts'
import { FileStatus } from '../../daemon/linux/stat.ts'

t.test('of many files those are told that are not what they were', (t) => {
  const directory = t.testdir()
  const names = Array.from({ length: 300 }, (_, number) => `file-${'x'.repeat(number % 200)}-${String(number)}`)
  for (const name of names) fs.writeFileSync(join(directory, name), '')
  const fd = fs.openSync(directory, 'r')
  t.teardown(() => {
    fs.closeSync(fd)
  })
  const files = names.map((name) => ({ name: nameOf(name), status: new FileStatus() }))
  for (const { name, status } of files) status.read(fd, name)

  const statuses = new FileStatuses(files)
  const told: string[] = []
  const differing = (): number[] =>
    statuses.differing(fd, (all, start) => told.push(all.toString('utf8', start, all.indexOf(0, start))))
  t.strictSame(differing(), [])
  t.strictSame(told, names, 'each is told of, as the second thread comes later')
  let different: number[]
  do {
    told.length = 0
    different = differing()
  } while (different.length === 0 && told.length === names.length && availableParallelism() > 1)
  t.strictSame(different, [], 'nor is anything different when it takes part')

  const path = (number: number): string => join(directory, names[number] ?? '')
  fs.readFileSync(path(0))
  fs.utimesSync(path(1), new Date(5000), fs.statSync(path(1)).mtime)
  fs.writeFileSync(path(7), 'longer')
  fs.chmodSync(path(8), 0o600)
  fs.unlinkSync(path(100))
  fs.renameSync(path(299), path(298))
  t.strictSame(differing(), [1, 7, 8, 100, 298, 299])
  t.end()
})

t.test('a status is settled once a change has to show in its time stamp', (t) => {
  const directory = t.testdir({ file: '' })
  const status = new FileStatus()
  status.read(-1, nameOf(join(directory, 'file')))
  const { changed } = status
  t.notOk(status.isSettled(changed))
  t.notOk(status.isSettled(changed + 10_000n))
  t.ok(status.isSettled(changed + 3_000_000n))
  const whole = changed % 1_000_000n === 0n
  t.equal(
    status.isSettled(changed + 1_000_000n),
    !whole,
    'whole seconds may be those of a file system that counts in them'
  )
  // Bytes of the kernel's structure: nanoseconds of the time of change.
  status.raw.writeUInt32LE(0, 104)
  t.notOk(status.isSettled((changed / 1_000_000n) * 1_000_000n + 2_000_000n))
  t.ok(status.isSettled((changed / 1_000_000n) * 1_000_000n + 3_000_000n))
  t.end()
})

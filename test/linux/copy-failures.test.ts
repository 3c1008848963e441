import { constants } from 'node:os'
import t from 'tap'
import { systemError } from '../../daemon/base/errors.ts'
import { CopyFailures } from '../../daemon/linux/copy-failures.ts'

const failure = (code: keyof typeof constants.errno): Error => systemError(constants.errno[code], 'openat')

t.test('the first failure is told in the end, with its path; what was there already is none', (t) => {
  const failures = new CopyFailures(false)
  failures.add(failure('EEXIST'), () => 'there')
  failures.throwFirst()
  failures.add(failure('ENOENT'), () => 'tree/first')
  failures.add(failure('EACCES'), () => 'tree/second')
  const throwFirst = (): void => {
    failures.throwFirst()
  }
  t.throws(throwFirst, { code: 'ENOENT', syscall: 'openat', path: 'tree/first' })
  t.end()
})

t.test('an image ends with any, but for a file that is gone', (t) => {
  const failures = new CopyFailures(true)
  failures.add(failure('ENOENT'), () => 'gone')
  failures.throwFirst()
  for (const code of ['EEXIST', 'EACCES'] as const) {
    const error = failure(code)
    t.throws(() => {
      failures.add(error, () => 'file')
    }, error)
  }
  t.end()
})

t.test('what says that all the rest would fail as well ends any copy', (t) => {
  const failures = new CopyFailures(false)
  for (const error of [failure('ENOSPC'), failure('EDQUOT'), failure('ECANCELED'), new TypeError('a bug')]) {
    t.throws(() => {
      failures.add(error, () => 'file')
    }, error)
  }
  t.end()
})

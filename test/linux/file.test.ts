import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readFileBounded, writeFileAtomically } from '../../daemon/linux/file.ts'

t.test('atomic writing', (t) => {
  const dir = t.testdir({ old: 'before' })
  const umask = process.umask(0o077)
  t.teardown(() => process.umask(umask))
  writeFileAtomically(join(dir, 'old'), 'after', 0o644)
  t.equal(readFileSync(join(dir, 'old'), 'utf8'), 'after')
  t.equal(statSync(join(dir, 'old')).mode & 0o7777, 0o644, 'whatever the umask')
  mkdirSync(join(dir, 'taken'))
  t.throws(
    () => {
      writeFileAtomically(join(dir, 'taken'), 'x', 0o644)
    },
    { code: 'EISDIR' }
  )
  t.throws(
    () => {
      writeFileAtomically(join(dir, 'none', 'x'), 'x', 0o644)
    },
    { code: 'ENOENT' }
  )
  t.same(readdirSync(dir).sort(), ['old', 'taken'], 'no temporary files stay')
  t.end()
})

t.test('bounded reading', (t) => {
  const dir = t.testdir({ file: 'x'.repeat(10000), empty: '' })
  t.equal(readFileBounded(join(dir, 'file'), 10000).length, 10000)
  t.throws(() => readFileBounded(join(dir, 'file'), 9999), { code: 'EFBIG' })
  t.equal(readFileBounded(join(dir, 'empty'), 0), '')
  t.match(readFileBounded('/proc/self/status', 65536), /^Uid:/m)
  t.throws(() => readFileBounded('/proc/self/status', 10), { code: 'EFBIG' })
  t.throws(() => readFileBounded(dir, 10), { code: 'EISDIR' })
  t.throws(() => readFileBounded('/dev/zero', 10), { code: 'EINVAL' })
  t.throws(() => readFileBounded(join(dir, 'none'), 10), { code: 'ENOENT' })
  execFileSync('mkfifo', [join(dir, 'fifo')])
  t.throws(() => readFileBounded(join(dir, 'fifo'), 10), { code: 'EINVAL' }, 'does not wait for a writer')
  t.end()
})

import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { FileLock } from '../../daemon/linux/file-lock.ts'

/** Tries the lock as another process would: exit code 0 when it can be had. */
function tryElsewhere(path: string, type: 'F_WRLCK' | 'F_RDLCK'): boolean {
  const script = `
import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDWR)
lock = struct.pack('hhqqi4x', fcntl.${type}, 0, 0, 0, 0)
try: fcntl.fcntl(fd, 37, lock)
except OSError: sys.exit(1)`
  try {
    execFileSync('python3', ['-c', script, path])
    return true
  } catch {
    return false
  }
}

t.test('an exclusive lock is one for all processes, and its file goes with it', (t) => {
  const path = join(t.testdir({}), 'lock')
  const lock = FileLock.take(path, 'exclusive')
  t.equal(fs.statSync(path).mode, 0o100600)
  t.notOk(tryElsewhere(path, 'F_RDLCK'))
  t.throws(() => FileLock.take(path, 'exclusive'), { code: 'EBUSY' }, 'for ourselves, too')
  t.throws(() => FileLock.take(path, 'shared'), { code: 'EBUSY' })
  lock.release()
  t.notOk(fs.existsSync(path))
  t.end()
})

t.test('a shared lock is for many, and the last one takes the file away', (t) => {
  const path = join(t.testdir({}), 'lock')
  const [one, two] = [FileLock.take(path, 'shared'), FileLock.take(path, 'shared')]
  t.ok(tryElsewhere(path, 'F_RDLCK'))
  t.notOk(tryElsewhere(path, 'F_WRLCK'))
  one.release()
  t.ok(fs.existsSync(path))
  two.release()
  t.notOk(fs.existsSync(path))
  t.end()
})

t.test('a link in the place of the file is not followed', (t) => {
  const top = t.testdir({ target: 'text', lock: t.fixture('symlink', 'target') })
  t.throws(() => FileLock.take(join(top, 'lock'), 'exclusive'), { code: 'ELOOP' })
  t.end()
})

t.test('locks that cannot be had leave no descriptor', (t) => {
  const path = join(t.testdir({}), 'lock')
  const lock = FileLock.take(path, 'exclusive')
  const before = fs.readdirSync('/proc/self/fd').length
  t.throws(() => FileLock.take(path, 'shared'))
  t.equal(fs.readdirSync('/proc/self/fd').length, before)
  lock.release()
  t.end()
})

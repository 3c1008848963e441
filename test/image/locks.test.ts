import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { lockImage, lockName } from '../../daemon/image/locks.ts'
import { systemPlaces } from '../../daemon/image/places.ts'

t.test('locks of an image lie beside it and, by its inode, with those of systemd-nspawn', (t) => {
  const top = t.testdir({ images: { one: {} } })
  const places = { ...systemPlaces, locks: join(top, 'a/locks') }
  const path = join(top, 'images/one')
  {
    using held = lockImage(path, 'exclusive', places)
    const { dev, ino } = fs.statSync(path, { bigint: true })
    t.strictSame(fs.readdirSync(join(top, 'images')), ['.#one.lck', 'one'])
    t.strictSame(fs.readdirSync(join(top, 'a/locks')), [`inode-${String(dev)}:${String(ino)}`])
    t.equal(fs.statSync(join(top, 'a/locks')).mode & 0o777, 0o700)
    t.ok(held)
    fs.symlinkSync('one', join(top, 'images/link'))
    t.throws(
      () => lockImage(join(top, 'images/link'), 'shared', places),
      { code: 'EBUSY' },
      'one image by another name'
    )
    t.strictSame(fs.readdirSync(join(top, 'images')), ['.#one.lck', 'link', 'one'], 'half of the locks are not kept')
  }
  t.strictSame(fs.readdirSync(join(top, 'images')), ['link', 'one'])
  t.strictSame(fs.readdirSync(join(top, 'a/locks')), [])
  t.end()
})

t.test('the host is always in use, and its name always taken', (t) => {
  const places = { ...systemPlaces, locks: join(t.testdir({}), 'locks') }
  t.throws(() => lockImage('/', 'exclusive', places), { code: 'EBUSY' })
  t.doesNotThrow(() => {
    using held = lockImage('/', 'shared', places)
    t.ok(held)
  })
  t.throws(() => lockName('.host', places), { code: 'EBUSY' })
  t.end()
})

t.test('a name is reserved for one', (t) => {
  const places = { ...systemPlaces, locks: join(t.testdir({}), 'locks') }
  using held = lockName('new', places)
  t.ok(held)
  t.strictSame(fs.readdirSync(places.locks), ['name-new'])
  t.throws(() => lockName('new', places), { code: 'EBUSY' })
  t.end()
})

t.test('what cannot be an image cannot be locked; $SYSTEMD_NSPAWN_LOCK switches locks off', (t) => {
  const top = t.testdir({})
  const places = { ...systemPlaces, locks: join(top, 'locks') }
  execFileSync('mkfifo', [join(top, 'pipe')])
  t.throws(() => lockImage(join(top, 'pipe'), 'shared', places), { code: 'ENOTTY' })
  process.env['SYSTEMD_NSPAWN_LOCK'] = '0'
  t.doesNotThrow(() => {
    using held = lockName('new', places)
    using other = lockName('new', places)
    t.ok(held !== other)
  })
  delete process.env['SYSTEMD_NSPAWN_LOCK']
  t.end()
})

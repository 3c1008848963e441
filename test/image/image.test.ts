import t from 'tap'
import { isHidden, isHost, isValidImageName, isVendor, UNKNOWN_SIZE, type Image } from '../../daemon/image/image.ts'

const image: Image = {
  name: 'one',
  type: 'directory',
  path: '/var/lib/machines/one',
  entry: '/var/lib/machines/one',
  readOnly: false,
  created: 0n,
  modified: 0n,
  usage: UNKNOWN_SIZE,
  usageExclusive: UNKNOWN_SIZE,
  limit: UNKNOWN_SIZE,
  limitExclusive: UNKNOWN_SIZE,
  foreignOwned: false
}

t.test('image names are file names that can be shown', (t) => {
  for (const name of ['a', '.host', '.hidden', 'a b', 'a_b', 'ü', '..a', '-', 'a.raw', 'x'.repeat(255)]) {
    t.ok(isValidImageName(name), name)
  }
  for (const name of ['', '.', '..', 'a/b', '/', '.#a', 'a\nb', '\x7f', 'a\ufffd', 'x'.repeat(256), 'ü'.repeat(128)]) {
    t.notOk(isValidImageName(name), name)
  }
  t.end()
})

t.test('images of the operating system, of the host and hidden ones are told apart', (t) => {
  t.ok(isVendor({ ...image, path: '/usr/lib/machines/one' }))
  t.notOk(isVendor({ ...image, path: '/usrlib/one' }))
  t.ok(isHost({ ...image, name: '.host' }))
  t.ok(isHost({ ...image, path: '/' }))
  t.notOk(isHost(image))
  t.ok(isHidden({ ...image, name: '.a' }))
  t.notOk(isHidden(image))
  t.end()
})

import t from 'tap'
import { compareVersions } from '../../daemon/image/compare-versions.ts'

t.test('versions are in the order that their specification gives', (t) => {
  const ascending = [
    '~1',
    '',
    '1~rc1',
    '1',
    '1-1',
    '1^post1',
    '1.0',
    '1.1',
    '1a',
    '1b',
    '2',
    '9',
    '10',
    '10.1',
    '20240101'
  ]
  for (const [at, version] of ascending.entries()) {
    for (const later of ascending.slice(at + 1)) {
      t.ok(compareVersions(version, later) < 0, `${version} < ${later}`)
      t.ok(compareVersions(later, version) > 0, `${later} > ${version}`)
    }
    t.equal(compareVersions(version, version), 0)
  }
  t.end()
})

t.test('leading zeros and separators that mean nothing make no difference', (t) => {
  t.equal(compareVersions('1.01', '1.1'), 0)
  t.equal(compareVersions('1_2', '1/2'), 0)
  t.ok(compareVersions('1.a', '1.1') < 0, 'numbers are newer than letters')
  t.end()
})

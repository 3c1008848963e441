import t from 'tap'
import { pickVersion } from '../../daemon/image/versioned-directory.ts'

const raw = { name: 'os', suffix: '.raw', tries: true }
const plain = { name: 'os', suffix: '', tries: true }
const [native, foreign] = process.arch === 'x64' ? ['x86-64', 'arm64'] : ['arm64', 'x86-64']

t.test('the newest version counts', (t) => {
  t.equal(pickVersion(['os_9.raw', 'os_10.raw', 'os_10~rc1.raw', 'os_1.raw'], raw), 'os_10.raw')
  t.equal(pickVersion(['os_1', 'osx_2', 'os2', 'x_os_3'], plain), 'os_1')
  t.end()
})

t.test('what is not named as a version of it does not', (t) => {
  t.equal(
    pickVersion(['os_1', 'os.raw', 'other_1.raw', 'os_a b.raw', 'os_.raw', 'os_1,2.raw', 'os_ü.raw'], raw),
    undefined
  )
  t.equal(pickVersion([], raw), undefined)
  t.end()
})

t.test('images for other processors are left out, those for ours come before those for all', (t) => {
  t.equal(pickVersion([`os_1_${native}`, `os_2_${foreign}`], plain), `os_1_${native}`)
  t.equal(pickVersion(['os_1', `os_1_${native}`], plain), `os_1_${native}`)
  t.equal(pickVersion(['os_2_x', `os_1_${native}`], plain), 'os_2_x', 'the version counts for more')
  t.end()
})

t.test('images that may not be tried any more come last', (t) => {
  t.equal(pickVersion(['os_1+1.raw', 'os_2+0.raw', 'os_3+0-3.raw'], raw), 'os_1+1.raw')
  t.equal(pickVersion(['os_2+0.raw', 'os_3+0-3.raw'], raw), 'os_3+0-3.raw')
  t.equal(pickVersion(['os_1+2.raw', 'os_1+3.raw'], raw), 'os_1+3.raw')
  t.equal(pickVersion(['os_1+2-2.raw', 'os_1+2-1.raw'], raw), 'os_1+2-1.raw')
  t.equal(pickVersion(['os_1.raw', 'os_1+5.raw'], raw), 'os_1.raw')
  t.equal(pickVersion(['os_2+1.raw', 'os_1.raw'], { ...raw, tries: false }), 'os_1.raw', 'where tries count')
  t.end()
})

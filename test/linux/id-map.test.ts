import t from 'tap'
import { isValidId, mapFromHost, mapToHost, parseIdMap, readIdMap, shiftOf } from '../../daemon/linux/id-map.ts'
import { PidRef } from '../../daemon/linux/process.ts'

const identity = parseIdMap('         0          0 4294967295\n')
const shifted = parseIdMap('         0     131072      65536\n')

t.test('parsing', (t) => {
  t.same(shifted, [{ inside: 0, outside: 131072, count: 65536 }])
  t.same(parseIdMap(''), [])
  for (const text of ['0 0\n', '0 0 0\n', 'x 0 1\n', '0 0 4294967296\n', '-1 0 1\n', '\n', '0 0 1 1\n']) {
    t.throws(() => parseIdMap(text), { code: 'EBADMSG' }, JSON.stringify(text))
  }
  t.end()
})

t.test('shift', (t) => {
  t.equal(
    shiftOf(identity, () => identity),
    0
  )
  t.equal(
    shiftOf(shifted, () => shifted),
    131072
  )
  t.throws(() => shiftOf(shifted, () => identity), { code: 'ENXIO' })
  t.throws(() => shiftOf([], () => []), { code: 'ENOMSG' })
  t.throws(() => shiftOf(parseIdMap('1 1000 70000\n'), () => []), { code: 'ENXIO' })
  t.throws(() => shiftOf(parseIdMap('0 1000 65533\n'), () => []), { code: 'ENXIO' })
  t.throws(() => shiftOf([...shifted, ...shifted], () => shifted), { code: 'ENXIO' })
  t.end()
})

t.test('mapping', (t) => {
  t.equal(mapToHost(shifted, 1000), 132072)
  t.equal(mapToHost(shifted, 65536), undefined)
  t.equal(mapToHost(identity, 1000), 1000, 'no namespace maps each ID to itself')
  t.equal(mapFromHost(shifted, 131072), 0)
  t.equal(mapFromHost(shifted, 131071), undefined)
  t.equal(mapFromHost(shifted, 131072 + 65536), undefined)
  t.throws(() => mapFromHost(shifted, 131072 + 65535), { code: 'EINVAL' }, 'would be 65535')
  t.equal(mapFromHost(identity, 70000), undefined, "the identity is nobody's own")
  t.same([0, 65534, 65535, 65536, 4294967294, 4294967295, -1].filter(isValidId), [0, 65534, 65536, 4294967294])
  t.end()
})

t.test('this process', (t) => {
  using ref = PidRef.pin(process.pid)
  t.same(readIdMap(ref, 'uid'), readIdMap(process.pid, 'uid'))
  t.ok(readIdMap(ref, 'gid').length > 0)
  t.throws(() => readIdMap(2 ** 30, 'uid'), { code: 'ENOENT' })
  t.end()
})

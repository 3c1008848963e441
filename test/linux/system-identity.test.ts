import t from 'tap'
import { readHostname, readMachineId, readPairs } from '../../daemon/linux/system-identity.ts'

t.test('a host name is made of the first line that has any text', (t) => {
  const names: readonly (readonly [string, string])[] = [
    ['name\n', 'name'],
    ['# comment\n\n \t\nname\nother\n', 'name'],
    ['a.b.c', 'a.b.c'],
    ['.a..b.', 'a.b'],
    ['a.-b', 'a.b'],
    ['a-.b', 'a-b'],
    ['a--b', 'a--b'],
    ['-a-', 'a'],
    ['a--', ''],
    ['not a name!', 'notaname'],
    ['node-????', 'node-????'],
    ['$', '$'],
    ['!!!\nsecond', ''],
    ['x'.repeat(70), 'x'.repeat(64)],
    ['', '']
  ]
  for (const [text, name] of names) t.equal(readHostname(text), name, JSON.stringify(text))
  t.end()
})

t.test('a machine id is 32 hex digits and no more', (t) => {
  const id = '0123456789abcdef0123456789abcdef'
  for (const text of [id, `${id}\n`, id.toUpperCase()]) t.equal(readMachineId(text), id)
  for (const text of ['', '0123', `${id}0`, `${id}\n\n`, `${id} `, 'uninitialized\n', '0'.repeat(32)]) {
    t.equal(readMachineId(text), '', JSON.stringify(text))
  }
  t.end()
})

t.test('assignments of any name count, unless one is no UTF-8', (t) => {
  t.same(readPairs('A=1\nexport B = 2 3 \n\tä=ö\n#C=3\nnothing\n'), [
    ['A', '1'],
    ['export B', '2 3'],
    ['ä', 'ö']
  ])
  t.same(readPairs('A=1\nB=\ufffd\n'), [])
  t.end()
})

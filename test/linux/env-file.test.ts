import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import t from 'tap'
import { formatValue, parse } from '../../daemon/linux/env-file.ts'

const value = (text: string) => parse(`K=${text}\n`).get('K')

t.test('parsing', (t) => {
  t.same(
    [...parse('# c\n; c\nA=1\n\n  B = x y  \nbad line\n1C=3\nA=2\nD=')],
    [
      ['A', '2'],
      ['B', 'x y'],
      ['D', '']
    ]
  )
  t.equal(value('" 5 7"'), ' 5 7')
  t.equal(value('"a\\"\\\\\\`\\$\\n"'), 'a"\\`$\\n')
  t.equal(value("'a\\b\"'"), 'a\\b"')
  t.equal(value('a"b c"\'d\''), 'ab cd')
  t.equal(value('a\\\nb'), 'ab')
  t.equal(value('"a\\\nb\nc"'), 'ab\nc')
  t.equal(value('"a "  '), 'a ')
  t.equal(parse('A="x').get('A'), 'x', 'an open quote ends with the file')
  t.equal(parse('A="x\\$').get('A'), 'x$')
  t.equal(parse('A=x "').get('A'), 'x ')
  t.equal(parse('A=x\\').get('A'), 'x')
  t.end()
})

t.test('state files of v252', (t) => {
  t.equal(value('machine-a\\\\x2db.scope'), 'machine-a\\x2db.scope')
  t.equal(value('/a\\tb\\"c\\\'\\303\\244\\x41'), '/a\tb"c\'äA')
  t.equal(parse('K=a\\tb', { cEscapes: false }).get('K'), 'atb')
  t.end()
})

t.test('formatting', (t) => {
  t.equal(formatValue('plain/ä.service'), 'plain/ä.service')
  t.equal(formatValue(''), '')
  t.equal(formatValue('machine-a\\x2db.scope'), '"machine-a\\\\x2db.scope"')
  t.equal(formatValue('a b'), '"a b"')
  for (const char of '"\\`$') t.equal(formatValue(char), `"\\${char}"`)
  for (const char of "*?['()<>|&;! \t\n\x7f") t.equal(formatValue(char), `"${char}"`)
  for (const char of '#~]{}=%^,') t.equal(formatValue(char), char)
  t.end()
})

t.test('what is written is read back', (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string(), (a, b) => {
      const map = parse(`A=${formatValue(a)}\nB=${formatValue(b)}\n`)
      return map.get('A') === a && map.get('B') === b
    })
  )
  t.end()
})

t.test('a shell reads the same', (t) => {
  for (const text of ['a b', '$(x)`y`"z\\', "it's", 'a\nb', '*', 'a\\x2db']) {
    t.equal(execFileSync('sh', ['-c', `A=${formatValue(text)}; printf %s "$A"`], { encoding: 'utf8' }), text)
  }
  t.end()
})

import t from 'tap'
import { formatJson, parseJson, wide } from '../../../daemon/api/varlink/json.ts'

t.test('integers stay exact, however wide', (t) => {
  const text =
    '{"a":18446744073709551615,"b":[-9223372036854775808,9007199254740991,1e3,1.5],"c":"12345678901234567890"}'
  t.strictSame(parseJson(text), {
    a: 18446744073709551615n,
    b: [-9223372036854775808n, 9007199254740991, 1000, 1.5],
    c: '12345678901234567890'
  })
  t.equal(
    formatJson({ a: 18446744073709551615n, b: [1n, undefined, 'x'], c: undefined }),
    '{"a":18446744073709551615,"b":[1,null,"x"]}'
  )
  t.strictSame([wide(5n), wide(2n ** 60n)], [5, 2n ** 60n])
  t.end()
})

t.test('both parsers agree on what JSON is', (t) => {
  const texts = [
    ' { "a" : [ ] , "b" : { } } ',
    '"\\u00e4\\n\\"\\\\"',
    '[true,false,null,-0.5e-3,0]',
    '{"a":1,"a":2}',
    '{"__proto__":{"a":1}}'
  ]
  // Enough brackets for the parser of our own.
  const wrap = (text: string): string => `[${'[],'.repeat(200)}${text}]`
  for (const text of texts) t.strictSame((parseJson(wrap(text)) as unknown[]).at(-1), JSON.parse(text), text)
  for (const text of [
    '',
    '{',
    '[1,]',
    '{"a"}',
    '{a:1}',
    '01',
    '1.',
    '.5',
    '+1',
    "'a'",
    '"\n"',
    '"\\x"',
    'nul',
    '1 2',
    '[}',
    '\u00a01'
  ]) {
    t.throws(() => parseJson(text), SyntaxError, text)
    t.throws(() => parseJson(wrap(text)), SyntaxError, `among others: ${text}`)
  }
  t.end()
})

t.test('what is too deep or too much is refused without trying', (t) => {
  t.throws(() => parseJson('['.repeat(16_000_000)), SyntaxError)
  t.throws(() => parseJson(`[${'[],'.repeat(5_000_000)}[]]`), SyntaxError)
  t.ok(parseJson(`${'['.repeat(128)}${']'.repeat(128)}`))
  t.throws(() => parseJson(`${'['.repeat(200)}${']'.repeat(200)}`), SyntaxError)
  t.end()
})

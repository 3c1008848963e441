import t from 'tap'
import { countTests } from '../../scripts/tap-count.ts'

const output = `TAP version 14
# Subtest: test/a.test.ts
    # Subtest: one thing
        ok 1 - fine
        not ok 2 - should be equal
          ---
          diff: a, b
          ...
        1..2
    not ok 1 - one thing # time=5ms
    not ok 2 - not now # SKIP no kernel for it
    ok 3 - another
    1..3
not ok 1 - test/a.test.ts
# Subtest: test/b.test.ts
    ok 1 - fine
    1..1
not ok 2 - test/b.test.ts # timeout
`

t.test('tests are counted, sums are not, and failures say where they are', async (t) => {
  t.strictSame(await countTests(output.split('\n')), {
    passed: 3,
    failed: 2,
    skipped: 1,
    failures: [
      'test/a.test.ts > one thing > should be equal\n          ---\n          diff: a, b\n          ...\n        1..2',
      'test/b.test.ts # timeout'
    ]
  })
})

import t from 'tap'
import { randomHex } from '../../daemon/linux/random.ts'

t.test('random hex digits, two for each byte, never the same twice', (t) => {
  const seen = new Set(Array.from({ length: 1000 }, () => randomHex(8)))
  t.equal(seen.size, 1000)
  for (const text of seen) if (!/^[0-9a-f]{16}$/.test(text)) t.fail(text)
  t.end()
})

import t from 'tap'
import { isValidMachineName } from '../../daemon/machine/machine-name.ts'

t.test('host names of up to 64 bytes are machine names', async (t) => {
  for (const name of ['a', 'foo-bar', 'a.b.c', '5x', 'A'.repeat(64), 'x--y']) t.ok(isValidMachineName(name), name)
})

t.test('nothing else is', async (t) => {
  for (const name of [
    '',
    '.host',
    'a.',
    'a..b',
    '-a',
    'a-',
    'a.-b',
    'foo_bar',
    'a b',
    'ä',
    'a/b',
    'A'.repeat(65),
    'a\n'
  ]) {
    t.notOk(isValidMachineName(name), JSON.stringify(name))
  }
})

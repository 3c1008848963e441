import t from 'tap'
import { childOn, escapeLabel, unescapeLabel } from '../../../daemon/api/dbus/object-path.ts'

t.test('names are escaped as sd-bus escapes labels', (t) => {
  const labels = {
    '': '_',
    '.host': '_2ehost',
    'foo-bar': 'foo_2dbar',
    '5x': '_35x',
    foo_bar: 'foo_5fbar',
    x5: 'x5',
    é: '_c3_a9'
  }
  for (const [name, label] of Object.entries(labels)) {
    t.equal(escapeLabel(name), label)
    t.equal(unescapeLabel(label), name)
  }
  t.end()
})

t.test('several labels stand for one name', (t) => {
  t.equal(unescapeLabel('foo_2Dbar'), 'foo-bar')
  t.equal(unescapeLabel('a_zz'), 'a_zz')
  t.equal(unescapeLabel('a_'), 'a_')
  t.equal(unescapeLabel('a_2'), 'a_2')
  t.equal(unescapeLabel('_66oo'), 'foo')
  t.end()
})

t.test('the child on the way to a descendant', (t) => {
  t.equal(childOn('/', '/org/freedesktop'), 'org')
  t.equal(childOn('/org', '/org/freedesktop/machine1'), 'freedesktop')
  t.equal(childOn('/org', '/organ/x'), undefined)
  t.equal(childOn('/org', '/org'), undefined)
  t.equal(childOn('/', '/'), undefined)
  t.end()
})

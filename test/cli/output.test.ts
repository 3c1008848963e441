import t from 'tap'
import { Output } from '../../cli/output.ts'
import type { JsonMode } from '../../cli/options.ts'

const rows = [
  { name: 'c1', mount_point: '/run/machine/c1', read_only: true },
  { name: 'longer', mount_point: '/x', read_only: false }
]
const titles = { name: 'NAME', mount_point: 'MOUNT POINT', read_only: 'READ-ONLY' }

/** What is printed, and whether it may be paged. */
function printed(json: JsonMode, legend: boolean, print: (output: Output) => void): [string, boolean][] {
  const seen: [string, boolean][] = []
  print(new Output({ json, legend, pager: true }, (text, paged) => seen.push([text, paged])))
  return seen
}

t.test('a list has columns, a header and a footer', (t) => {
  const list = (legend: boolean, all = rows): unknown =>
    printed('off', legend, (output) => {
      output.table(all, titles, 'mounts')
    })
  const table = 'c1     /run/machine/c1 yes\nlonger /x              no\n'
  t.strictSame(list(true), [[`NAME   MOUNT POINT     READ-ONLY\n${table}\n2 mounts listed.\n`, true]])
  t.strictSame(list(false), [[table, true]])
  t.strictSame(list(true, []), [['No mounts.\n', true]])
  t.strictSame(list(false, []), [['', true]])
  t.end()
})

t.test('one thing is a line for each field', (t) => {
  const text = printed('off', true, (output) => {
    output.fields({ mount_point: '/run/machine/c1' }, { mount_point: 'Mount point' })
  })
  t.strictSame(text, [['Mount point: /run/machine/c1\n', false]])
  t.end()
})

t.test('JSON has the values as they are', (t) => {
  for (const json of ['short', 'pretty'] as const) {
    const [[text] = ['']] = printed(json, false, (output) => {
      output.table(rows, titles, 'mounts')
    })
    t.strictSame(JSON.parse(text), rows)
    t.equal(text.trim().includes('\n'), json === 'pretty')
  }
  t.strictSame(
    printed('short', true, (output) => {
      output.table([], titles, 'mounts')
    }),
    [['[]\n', true]]
  )
  t.end()
})

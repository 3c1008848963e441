import t from 'tap'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { forEachEntry, readAllEntries } from '../../daemon/linux/directory-entries.ts'
import { closeFd } from '../../daemon/linux/libc.ts'

function read(directory: string, buffer: Buffer): Buffer {
  const fd = fs.openSync(directory, fs.constants.O_DIRECTORY)
  try {
    return readAllEntries(fd, buffer)
  } finally {
    closeFd(fd)
  }
}

t.test('the same entries are the same bytes, whatever was in the buffer before', (t) => {
  // Names of all lengths, so that there are gaps of all lengths behind them.
  const directory = t.testdir(Object.fromEntries(Array.from({ length: 20 }, (_, at) => ['x'.repeat(at + 1), ''])))
  for (const size of [65536, 1024]) {
    const zeros = Buffer.from(read(directory, Buffer.alloc(size)))
    t.ok(read(directory, Buffer.alloc(size, 0xff)).equals(zeros), `a buffer of ${size} bytes`)
  }
  t.end()
})

t.test(
  'each entry is visited by its name, be it short after a long one, and be there more than the buffer has room for',
  (t) => {
    const names = Array.from({ length: 300 }, (_, at) => `${'x'.repeat((at * 97) % 251)}.${at}`)
    const directory = t.testdir(Object.fromEntries(names.map((name) => [name, ''])))
    const fd = fs.openSync(directory, fs.constants.O_DIRECTORY)
    const visited: string[] = []
    forEachEntry(fd, Buffer.alloc(1024), (name) => {
      visited.push(name.toString('utf8', 0, name.indexOf(0)))
    })
    closeFd(fd)
    t.strictSame(visited.sort(), names.sort())
    t.end()
  }
)

t.test('a directory with more entries than the buffer has room for is read whole', (t) => {
  const directory = t.testdir()
  for (let at = 0; at < 500; at++) fs.writeFileSync(join(directory, `a-name-of-some-length-${at}`), '')
  const entries = read(directory, Buffer.alloc(4096))
  for (let at = 0; at < 500; at++) t.ok(entries.includes(`a-name-of-some-length-${at}\0`))
  t.end()
})

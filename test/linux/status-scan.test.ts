import * as fs from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { nameOf } from '../../daemon/linux/file-at.ts'
import { addressOf } from '../../daemon/linux/libc.ts'
import { FileStatus } from '../../daemon/linux/stat.ts'
import { type Scanned, StatusScan } from '../../daemon/linux/status-scan.ts'

/** Forty files of which one has changed; `names` are to be kept as long. */
function makeScanned(t: Tap): { readonly names: Buffer; readonly scanned: Scanned } {
  const directory = t.testdir()
  const files = Array.from({ length: 40 }, (_, number) => String(number + 10))
  for (const name of files) fs.writeFileSync(join(directory, name), '')
  const fd = fs.openSync(directory, 'r')
  t.teardown(() => {
    fs.closeSync(fd)
  })
  const names = Buffer.concat(files.map(nameOf))
  const words = files.map((name) => {
    const status = new FileStatus()
    status.read(fd, nameOf(name))
    return [...status.words]
  })
  fs.appendFileSync(join(directory, '30'), 'more')
  const scanned = {
    directory: fd,
    names: Number(addressOf(names)),
    starts: Uint32Array.from(files, (_, at) => at * 3).buffer,
    words: Int32Array.from(words.flat()).buffer
  }
  return { names, scanned: { ...(scanned as unknown as Scanned), progress: StatusScan.progressOf(files.length) } }
}
type Tap = Pick<typeof t, 'testdir' | 'teardown'>

t.test('what one thread has looked at the other one does not', (t) => {
  const { scanned, names } = makeScanned(t)
  const [one, other] = [new StatusScan(scanned), new StatusScan(scanned)]
  const told: number[] = []
  other.runAsOther()
  one.run((at) => told.push(at))
  t.strictSame(told, [])
  one.waitForOther(1, (at) => told.push(at))
  t.strictSame([told, one.differing()], [[], [20]])
  t.equal(names.length, 120)
  t.end()
})

t.test('a thread that comes when all is looked at looks at nothing', (t) => {
  const { scanned, names } = makeScanned(t)
  const one = new StatusScan(scanned)
  const told: number[] = []
  one.run((at) => told.push(at))
  t.equal(told.length, 40)
  // A directory that is closed by now makes all differ that is looked at.
  new StatusScan({ ...scanned, directory: -1 }).runAsOther()
  t.strictSame(one.differing(), [20])
  t.equal(names.length, 120)
  t.end()
})

t.test('it is told where the other thread is that is waited for', (t) => {
  const { scanned } = makeScanned(t)
  const scan = new StatusScan(scanned)
  const told: number[] = []
  const words = new Int32Array(scanned.progress)
  words[1] = 17
  scan.waitForOther(1, (at) => {
    told.push(at)
    words[1] = told.length === 1 ? 18 : -1
  })
  t.strictSame(told, [17, 18])
  t.end()
})

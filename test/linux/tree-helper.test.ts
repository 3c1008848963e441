import * as fs from 'node:fs'
import t from 'tap'
import { CopyControl } from '../../daemon/linux/copy-control.ts'
import { TreeHelper } from '../../daemon/linux/tree-helper.ts'

/** Offers a directory until the other thread is there and has time. */
function give(helper: TreeHelper, directory: Directory): void {
  const nothing = new Int32Array(new SharedArrayBuffer(4))
  while (!helper.offer(directory)) Atomics.wait(nothing, 0, 0, 1)
}

/** A directory that notes what is done with it. */
class Directory {
  readonly descriptors: readonly [number]
  readonly done: string[] = []

  constructor(path?: string) {
    this.descriptors = [path === undefined ? -1 : fs.openSync(path, 'r')]
  }

  failed(error: Error): void {
    this.done.push((error as NodeJS.ErrnoException).code ?? '')
    throw error
  }

  finish(): void {
    this.done.push('finish')
  }

  close(): void {
    this.done.push('close')
  }
}

function startHelper(): TreeHelper {
  const control = new CopyControl()
  return new TreeHelper(() => ({ kind: 'removal', control: control.shared }))
}

t.test('a directory is finished once both are done in it', (t) => {
  using helper = startHelper()
  const top = t.testdir({ one: { a: '', b: '' }, two: { c: '', within: {} } })
  for (const name of ['one', 'two']) {
    const directory = new Directory(`${top}/${name}`)
    give(helper, directory)
    helper.leave(directory)
    helper.wait()
    t.strictSame(directory.done, ['finish', 'close'])
  }
  t.strictSame(fs.readdirSync(top, { recursive: true }).sort(), ['one', 'two', 'two/within'])
  t.end()
})

t.test('what the other thread fails with is told, and it goes on', (t) => {
  using helper = startHelper()
  const none = new Directory()
  give(helper, none)
  helper.leave(none)
  t.throws(
    () => {
      helper.wait()
    },
    { code: 'EBADF' }
  )
  t.strictSame(none.done, ['finish', 'close', 'EBADF'])
  const directory = new Directory(t.testdir({ file: '' }))
  give(helper, directory)
  helper.wait()
  t.end()
})

t.test('a directory that something went wrong in is closed when the other thread is done there', (t) => {
  using helper = startHelper()
  const top = t.testdir({ file: '' })
  const directory = new Directory(top)
  give(helper, directory)
  helper.abandon(directory)
  t.strictSame(directory.done, ['close'])
  t.strictSame(fs.readdirSync(top), [])
  t.end()
})

t.test('a thread that comes too late helps with the next tree', (t) => {
  for (let tree = 0; tree < 5; tree++) {
    using helper = startHelper()
    helper.offer(new Directory())
  }
  using helper = startHelper()
  const top = t.testdir({ file: '' })
  const directory = new Directory(top)
  give(helper, directory)
  helper.leave(directory)
  helper.wait()
  t.strictSame(directory.done, ['finish', 'close'])
  t.strictSame(fs.readdirSync(top), [])
  t.end()
})

t.test('it is given one directory ahead', (t) => {
  using helper = startHelper()
  const top = t.testdir({ one: { a: '' }, two: { b: '' } })
  const [one, two] = [new Directory(`${top}/one`), new Directory(`${top}/two`)] as const
  give(helper, one)
  helper.leave(one)
  t.ok(helper.offer(two), 'whether or not the first one is done')
  helper.leave(two)
  helper.wait()
  t.strictSame(
    [one.done, two.done],
    [
      ['finish', 'close'],
      ['finish', 'close']
    ]
  )
  t.strictSame(fs.readdirSync(top, { recursive: true }).sort(), ['one', 'two'])
  t.end()
})

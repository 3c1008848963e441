import * as fs from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { findOrMakeTarget, type MountTarget } from '../../daemon/linux/mount-target.ts'

const skip = process.getuid?.() !== 0
const owner = { uid: 0, gid: 0 }

/** What is below a directory, and how it is made. */
function tree(path: string): string[] {
  return fs
    .readdirSync(path, { recursive: true, encoding: 'utf8' })
    .map((name) => [name, fs.lstatSync(join(path, name))] as const)
    .map(([name, stat]) => `${name} ${stat.mode.toString(8)} ${String(stat.uid)}:${String(stat.gid)}`)
    .sort()
}

function find(root: number, destination: string, makeAs: typeof owner | undefined, isDirectory = true): MountTarget {
  return findOrMakeTarget(root, { destination, makeAs, isDirectory })
}

t.test('what is missing is made, and goes again unless it is kept', { skip }, (t) => {
  const path = t.testdir({ there: {} })
  const root = fs.openSync(path, 'r')
  const before = tree(path)
  {
    using target = find(root, '/there/a/b/file', owner, false)
    t.ok(fs.fstatSync(target.fd).isFile())
    t.strictSame(tree(path), [
      'there 40755 0:0',
      'there/a 40755 0:0',
      'there/a/b 40755 0:0',
      'there/a/b/file 100600 0:0'
    ])
  }
  t.strictSame(tree(path), before)
  {
    using target = find(root, '/there/a/b', owner)
    fs.writeFileSync(join(path, 'there/a/others'), '')
    t.ok(fs.fstatSync(target.fd).isDirectory())
  }
  t.strictSame(
    tree(path).map((line) => line.split(' ')[0]),
    ['there', 'there/a', 'there/a/others'],
    'but not what others made'
  )
  {
    using target = find(root, '/there/kept', owner)
    target.keep()
  }
  t.ok(tree(path).includes('there/kept 40700 0:0'))
  fs.closeSync(root)
  t.end()
})

t.test('it is made with the rights of its owner', { skip }, (t) => {
  const path = t.testdir({ open: {}, shut: {} })
  fs.chmodSync(join(path, 'open'), 0o777)
  const root = fs.openSync(path, 'r')
  const somebody = { uid: 1234, gid: 4321 }
  {
    using target = find(root, '/open/x', somebody)
    target.keep()
  }
  t.ok(tree(path).includes('open/x 40700 1234:4321'))
  t.throws(() => find(root, '/shut/z', somebody), { code: 'EACCES' })
  t.equal(fs.statSync(path).uid, 0)
  fs.writeFileSync(join(path, 'shut/mine'), '')
  t.ok(tree(path).includes('shut/mine 100644 0:0'), 'and only it')
  fs.closeSync(root)
  t.end()
})

t.test('links stay below the root, and a link at the end is no place', { skip }, (t) => {
  const path = t.testdir({
    in: { file: '' },
    out: t.fixture('symlink', '../../../../..'),
    last: t.fixture('symlink', 'in')
  })
  const root = fs.openSync(path, 'r')
  {
    using target = find(root, '/out/in/file', undefined)
    t.equal(fs.fstatSync(target.fd).ino, fs.statSync(join(path, 'in/file')).ino)
    using link = find(root, '/last', owner)
    t.ok(fs.fstatSync(link.fd).isSymbolicLink())
  }
  t.throws(() => find(root, '/nowhere', undefined), { code: 'ENOENT' })
  t.throws(() => find(root, '/in/file/x', owner), { code: 'ENOTDIR' })
  fs.closeSync(root)
  t.end()
})

import t, { type Test } from 'tap'
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Discovery } from '../../daemon/image/discover.ts'
import { UNKNOWN_SIZE, type Image } from '../../daemon/image/image.ts'

/** Two search directories with a third that is missing, and what is found in them. */
function setUp(t: Test): { first: string; second: string; discovery: Discovery; names: () => string[] } {
  const base = fs.realpathSync(t.testdir({ first: {}, second: {} }))
  const [first, second] = [join(base, 'first'), join(base, 'second')]
  const search = [first, join(base, 'missing'), second]
  const discovery = new Discovery({ scope: 'user', search })
  return {
    first,
    second,
    discovery,
    names: () =>
      discovery
        .list()
        .map(({ name }) => name)
        .sort()
  }
}

/** Lets the kernel's clock go on, after which a time stamp tells whether anything has changed. */
function settle(): void {
  const past = new Date(Date.now() + 30)
  while (new Date() < past);
}

t.test('directories, raw files and versions are images of the name that their entry has', (t) => {
  const { first, names } = setUp(t)
  fs.mkdirSync(join(first, 'tree'))
  fs.writeFileSync(join(first, 'disk.raw'), '')
  fs.writeFileSync(join(first, 'no-suffix'), '')
  fs.mkdirSync(join(first, 'many.v/many_1'), { recursive: true })
  fs.mkdirSync(join(first, 'empty.v'))
  fs.mkdirSync(join(first, '.sysupdate.x'))
  fs.mkdirSync(join(first, '.#temporary'))
  fs.mkdirSync(Buffer.concat([Buffer.from(join(first, 'bytes')), Buffer.from([0xff])]))
  fs.symlinkSync('nowhere', join(first, 'dangling'))
  fs.symlinkSync('loop', join(first, 'loop'))
  execFileSync('mkfifo', [join(first, 'fifo.raw')])
  t.same(names(), ['disk', 'many', 'tree'])
  t.end()
})

t.test('an image hides those of the same name in later directories, an entry that is none hides nothing', (t) => {
  const { first, second, discovery } = setUp(t)
  for (const directory of [first, second]) fs.mkdirSync(join(directory, 'both'))
  fs.writeFileSync(join(first, 'one'), '')
  fs.mkdirSync(join(second, 'one'))
  t.same(
    discovery
      .list()
      .map(({ path }) => path)
      .sort(),
    [join(first, 'both'), join(second, 'one')]
  )
  t.equal(discovery.find('both')?.path, join(first, 'both'))
  t.equal(discovery.find('one')?.path, join(second, 'one'))
  t.end()
})

t.test('where several entries have one name, a list shows that which is found by it', (t) => {
  const { first, discovery } = setUp(t)
  for (const name of ['a', 'b', 'c', 'd']) {
    fs.writeFileSync(join(first, `${name}.raw`), '')
    fs.mkdirSync(join(first, name))
  }
  for (const image of discovery.list()) {
    t.equal(image.type, 'directory')
    t.same(discovery.find(image.name), image)
  }
  t.end()
})

t.test('the same list is given as long as nothing changes', (t) => {
  const { first, discovery } = setUp(t)
  fs.mkdirSync(join(first, 'tree'))
  fs.writeFileSync(join(first, 'disk.raw'), '')
  const list = discovery.list()
  t.equal(discovery.list(), list)
  settle()
  t.equal(discovery.list(), list)
  fs.writeFileSync(join(first, 'disk.raw'), 'more')
  const changed = discovery.list()
  t.not(changed, list)
  t.equal(
    changed.find(({ name }) => name === 'tree'),
    list.find(({ name }) => name === 'tree')
  )
  t.end()
})

t.test('what changes is seen by the next search', (t) => {
  const { first, second, discovery, names } = setUp(t)
  const of = (name: string): Image | undefined => {
    const listed = discovery.list().find((image) => image.name === name)
    t.same(discovery.find(name), listed, `${name} is found as it is listed`)
    return listed
  }
  const disk = join(first, 'disk.raw')
  fs.writeFileSync(disk, '')
  fs.mkdirSync(join(second, 'tree'))
  t.same(names(), ['disk', 'tree'])
  for (const isSettled of [false, true]) {
    if (isSettled) settle()
    fs.chmodSync(disk, 0o444)
    t.equal(of('disk')?.readOnly, true, 'mode')
    fs.chmodSync(disk, 0o644)
    t.equal(of('disk')?.readOnly, false)
    fs.truncateSync(disk, isSettled ? 1000 : 2000)
    t.equal(of('disk')?.limit, isSettled ? 1000n : 2000n, 'size')
    fs.utimesSync(disk, 5, isSettled ? 6 : 7)
    t.equal(of('disk')?.modified, isSettled ? 6_000_000n : 7_000_000n, 'time')
    fs.renameSync(join(second, 'tree'), join(second, 'moved'))
    t.equal(of('tree'), undefined, 'name')
    t.equal(of('moved')?.path, join(second, 'moved'))
    fs.renameSync(join(second, 'moved'), join(second, 'tree'))
    fs.mkdirSync(join(first, 'tree'))
    t.equal(of('tree')?.path, join(first, 'tree'), 'a directory that hides it')
    fs.rmdirSync(join(first, 'tree'))
    fs.symlinkSync('disk.raw', join(first, 'link.raw'))
    t.equal(of('link')?.path, disk, 'a link')
    fs.unlinkSync(join(first, 'link.raw'))
    fs.symlinkSync(join(second, 'tree'), join(first, 'link.raw'))
    t.equal(of('link'), undefined, 'a link that leads elsewhere')
    fs.unlinkSync(join(first, 'link.raw'))
    fs.mkdirSync(join(first, 'many.v/many_1'), { recursive: true })
    t.equal(of('many')?.path, join(first, 'many.v/many_1'), 'a version')
    fs.mkdirSync(join(first, 'many.v/many_2'))
    t.equal(of('many')?.path, join(first, 'many.v/many_2'), 'another version')
    fs.rmSync(join(first, 'many.v'), { recursive: true })
    fs.unlinkSync(disk)
    fs.writeFileSync(disk, 'another file of the same name')
    t.equal(of('disk')?.limit, 29n, 'another file')
  }
  t.end()
})

t.test('a raw file that was asked for by the name of its file is listed by the name of its image', (t) => {
  const { first, discovery, names } = setUp(t)
  fs.writeFileSync(join(first, 'disk.raw'), '')
  settle()
  for (let round = 0; round < 2; round++) {
    t.same(names(), ['disk'])
    t.equal(discovery.find('disk.raw')?.name, 'disk.raw')
    t.equal(discovery.find('disk')?.name, 'disk')
    t.equal(discovery.find('disk.raw')?.name, 'disk.raw')
  }
  t.end()
})

t.test('the time of creation that a copy brought along is seen, even when it is set at once', (t) => {
  const { first, discovery } = setUp(t)
  const disk = join(first, 'disk.raw')
  for (let round = 1; round <= 20; round++) {
    fs.writeFileSync(disk, '')
    const made = discovery.find('disk')?.created ?? 0n
    t.ok(made > 0n)
    const noted = `import os, struct; os.setxattr("${disk}", "user.crtime_usec", struct.pack("<Q", ${String(round)}))`
    execFileSync('python3', ['-c', noted])
    t.equal(discovery.find('disk')?.created, BigInt(round))
    fs.unlinkSync(disk)
  }
  t.end()
})

t.test('a directory that is missing is passed by, one that cannot be read fails the search', (t) => {
  const { first, discovery, names } = setUp(t)
  fs.rmdirSync(first)
  t.same(names(), [])
  fs.writeFileSync(first, '')
  t.throws(() => discovery.list(), { code: 'ENOTDIR' })
  t.throws(() => discovery.find('x'), { code: 'ENOTDIR' })
  t.end()
})

t.test('searches leave no descriptor open', (t) => {
  const { first, discovery } = setUp(t)
  fs.mkdirSync(join(first, 'tree'))
  const open = (): number => fs.readdirSync('/proc/self/fd').length
  discovery.list()
  const before = open()
  for (let round = 0; round < 50; round++) {
    discovery.list()
    discovery.find('tree')
    discovery.find('nothing')
  }
  t.equal(open(), before)
  t.end()
})

t.test('the host is an image of the system, read-only and of unknown size', (t) => {
  const [host] = new Discovery({ scope: 'system', search: [] }).list()
  t.match(host, { name: '.host', path: '/', type: 'directory', readOnly: true, usage: UNKNOWN_SIZE })
  t.equal(new Discovery({ scope: 'user', search: [] }).find('.host'), undefined)
  t.end()
})

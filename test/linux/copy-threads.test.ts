import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { CopyControl } from '../../daemon/linux/copy-control.ts'
import { copyThreads } from '../../daemon/linux/copy-threads.ts'
import { filesOfSecond } from './second-thread.ts'
import { mountThrowAwayDisk } from './throw-away-disk.ts'

const threads = copyThreads()
const descriptorsBefore = openDescriptors()
t.teardown(() => {
  threads.close()
})

interface Options {
  replace?: boolean
  image?: boolean
  control?: CopyControl
}

/** Copies `from` to `to`, two names in one directory. */
async function copy(directory: string, from: string, to: string, options: Options = {}): Promise<void> {
  const fd = await threads.run('openDirectory', directory)
  const { replace = false, image = false, control = new CopyControl() } = options
  const ends = { from: { directory: fd, name: from }, to: { directory: fd, name: to } }
  try {
    await threads.run('copyTree', {
      ...ends,
      fromMachine: false,
      owner: undefined,
      replace,
      image,
      control: control.shared
    })
  } finally {
    fs.closeSync(fd)
  }
}

function openDescriptors(): number {
  return fs.readdirSync('/proc/self/fd').length
}

/** Ends the threads that are kept for the next copy, and waits till no more descriptors are open than before there were any. */
async function untilClosed(): Promise<void> {
  threads.close()
  while (openDescriptors() > descriptorsBefore) await sleep(10)
}

t.test('what is copied is counted, and no descriptor stays open', async (t) => {
  const top = t.testdir({ tree: { one: 'text', two: { three: 'more' } } })
  const control = new CopyControl()
  await copy(top, 'tree', 'copied', { control })
  t.strictSame(control.progress, { bytes: 8, files: 4 })
  await untilClosed()
  t.equal(fs.readFileSync(join(top, 'copied/two/three'), 'utf8'), 'more')
  t.strictSame(fs.readdirSync(join(top, 'copied')), ['one', 'two'], 'nothing is left of the work')
})

t.test('links lead nowhere: not at the source, not at the target, not where a directory belongs', async (t) => {
  const top = t.testdir({ outside: { secret: 'secret' }, tree: { directory: { file: 'file' } }, target: {} })
  fs.symlinkSync('../outside', join(top, 'tree/link'))
  fs.symlinkSync('../outside', join(top, 'target/directory'))
  await t.rejects(copy(top, 'tree', 'target', { replace: true }), { code: 'ENOTDIR', path: 'tree/directory' })
  t.equal(fs.readlinkSync(join(top, 'target/link')), '../outside')
  t.strictSame(fs.readdirSync(join(top, 'outside')), ['secret'])
})

t.test('a FIFO is copied, not read', async (t) => {
  const top = t.testdir({ tree: {} })
  execFileSync('mkfifo', ['-m', '604', join(top, 'tree/pipe')])
  await copy(top, 'tree', 'copied')
  t.equal(fs.statSync(join(top, 'copied/pipe')).mode, 0o010604)
})

const LEASE = `
import fcntl, os, signal, sys
fd = os.open(sys.argv[1], os.O_RDWR)
signal.signal(signal.SIGIO, lambda *_: fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK))
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
sys.stdin.read()`

t.test('a file that somebody holds a lease of is waited for', async (t) => {
  const top = t.testdir({ tree: { file: 'text' } })
  const holder = spawn('python3', ['-c', LEASE, join(top, 'tree/file')], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.teardown(() => holder.stdin.end())
  await once(holder.stdout, 'data')
  await copy(top, 'tree', 'copied')
  t.equal(fs.readFileSync(join(top, 'copied/file'), 'utf8'), 'text')
})

t.test('holes stay holes', async (t) => {
  const top = t.testdir({ tree: {} })
  const fd = fs.openSync(join(top, 'tree/sparse'), 'w')
  // More than 32 bits can count.
  fs.writeSync(fd, 'end', 5 * 2 ** 30)
  fs.closeSync(fd)
  await copy(top, 'tree', 'copied')
  const stat = fs.statSync(join(top, 'copied/sparse'))
  t.equal(stat.size, 5 * 2 ** 30 + 3)
  t.ok(stat.blocks * 512 < 1 << 20)
})

const asRoot = { skip: process.getuid?.() !== 0 && 'only root can give files away' }

t.test('what belongs to whom stays so where directories hand their group down', asRoot, async (t) => {
  const top = t.testdir({ tree: { directory: {} } })
  fs.mkdirSync(join(top, 'copied'))
  fs.chownSync(join(top, 'copied'), 0, 1234)
  fs.chmodSync(join(top, 'copied'), 0o2700)
  const owners = { ours: [0, 0], theirs: [0, 1234], others: [5, 1234], 'directory/ours': [0, 0] } as const
  for (const [name, owner] of Object.entries(owners)) {
    fs.writeFileSync(join(top, 'tree', name), '')
    fs.chownSync(join(top, 'tree', name), owner[0], owner[1])
  }
  await copy(top, 'tree', 'copied', { image: true })
  for (const [name, owner] of Object.entries(owners)) {
    const { uid, gid } = fs.statSync(join(top, 'copied', name))
    t.strictSame([uid, gid], owner, name)
  }
})

/** What find(1) tells of each file, and which of them are one and the same. */
function describeTree(directory: string): string[] {
  const format = '%P %y %m %U %G %s %T@ %n %l %i\\n'
  const lines = execFileSync('find', [directory, '-mindepth', '1', '-printf', format], {
    encoding: 'utf8',
    maxBuffer: 1 << 30
  })
  const firstNames = new Map<string, string>()
  return lines
    .trimEnd()
    .split('\n')
    .sort()
    .map((line) => {
      const inode = line.slice(line.lastIndexOf(' '))
      if (!firstNames.has(inode)) firstNames.set(inode, line.slice(0, line.indexOf(' ')))
      return line.slice(0, -inode.length) + String(firstNames.get(inode))
    })
}

/** Directories with files and directories in them; files with names in many. */
const makeTree = (size: number): string => `for a in $(seq ${size}); do mkdir $a; for b in $(seq 10); do
    mkdir $a/$b $a/$b/below; (cd $a/$b; seq 50 | xargs touch; cd below; seq 50 | xargs touch; chmod 4711 1; ln -s 1 link)
    ln 1/1/2 $a/$b/linked; ln 1/1/3 $a/$b/below/linked; echo text >$a/$b/below/$a-$b; mkfifo $a/$b/pipe
    chown 7:8 $a/$b $a/$b/3; touch -d @1000000000 $a/$b $a/$b/below
  done; touch -d @1000000000 $a; done`

/** Makes bigger and bigger trees till one is big enough for the second thread to take part. */
async function untilShared(work: (size: number) => Promise<CopyControl>): Promise<void> {
  for (let size = 10; size < 1000; size *= 2) {
    if (filesOfSecond(await work(size)) > 0 || availableParallelism() === 1) return
  }
  throw new Error('The second thread never took part')
}

for (const image of [true, false]) {
  t.test(`two threads copy ${image ? 'an image' : 'a tree'} that takes long as one would`, asRoot, async (t) => {
    await untilShared(async (size) => {
      const top = t.testdir({ tree: {} })
      if (image) fs.mkdirSync(join(top, 'copied'))
      execFileSync('sh', ['-euc', makeTree(size)], { cwd: join(top, 'tree') })
      const control = new CopyControl()
      await copy(top, 'tree', 'copied', { image, control })
      const expected = describeTree(join(top, 'tree'))
      // Not by strictSame(), which would print all of both.
      t.ok(isDeepStrictEqual(describeTree(join(top, 'copied')), expected), 'the same files')
      execFileSync('diff', ['-r', '--no-dereference', '-x', 'pipe', 'tree', 'copied'], { cwd: top })
      t.equal(control.progress.files, expected.length + 1)
      return control
    })
    await untilClosed()
  })
}

t.test('whichever thread fails with a file, it is told which, and the others are copied', asRoot, async (t) => {
  await untilShared(async (size) => {
    const top = t.testdir({ tree: {}, copied: { 2: { 2: { 7: 'in the way' } } } })
    execFileSync('sh', ['-euc', makeTree(size)], { cwd: join(top, 'tree') })
    const control = new CopyControl()
    execFileSync('chattr', ['+i', 'copied/2/2/7'], { cwd: top })
    try {
      await t.rejects(copy(top, 'tree', 'copied', { replace: true, control }), { code: 'EPERM', path: 'tree/2/2/7' })
    } finally {
      execFileSync('chattr', ['-i', 'copied/2/2/7'], { cwd: top })
    }
    t.equal(describeTree(join(top, 'copied')).length, describeTree(join(top, 'tree')).length)
    return control
  })
})

/** setfacl -d -m u::rwx,u:1000:rwx,g::-,m::rwx,o::- as setxattr(2) takes it. */
const SET_DEFAULT_ACL = `
import os, struct, sys
entries = [(1, 7, -1), (2, 7, 1000), (4, 0, -1), (16, 7, -1), (32, 0, -1)]
acl = struct.pack('<I', 2) + b''.join(struct.pack('<HHi', *entry) for entry in entries)
os.setxattr(sys.argv[1], 'system.posix_acl_default', acl)`

for (const acl of [false, true]) {
  t.test(`modes are those of the source${acl ? ', also where a default ACL has others' : ''}`, async (t) => {
    const modes = [0o644, 0o600, 0o755, 0o444, 0o664, 0o666, 0o604, 0o640, 0o070, 0o4755, 0o2755, 0o1644, 0o7777]
    const top = t.testdir({ tree: {}, copied: {} })
    for (const mode of modes) {
      const file = join(top, 'tree', mode.toString(8))
      fs.writeFileSync(file, 'text')
      fs.chmodSync(file, mode)
    }
    if (acl) execFileSync('python3', ['-c', SET_DEFAULT_ACL, join(top, 'copied')])
    await copy(top, 'tree', 'copied')
    const found = modes.map((mode) => fs.statSync(join(top, 'copied', mode.toString(8))).mode & 0o7777)
    t.strictSame(found, modes)
  })
}

t.test('times are those of the source', async (t) => {
  const top = t.testdir({ tree: { file: 'text', directory: {} } })
  fs.symlinkSync('file', join(top, 'tree/link'))
  const names = ['file', 'directory', 'link', '.']
  for (const name of names) {
    const path = join(top, 'tree', name)
    execFileSync('touch', ['--no-dereference', '-a', '--date=@-1.000000001', path])
    execFileSync('touch', ['--no-dereference', '-m', '--date=@5000000000.123456789', path])
  }
  await copy(top, 'tree', 'copied')
  for (const name of names) {
    const { atimeNs, mtimeNs } = fs.lstatSync(join(top, 'copied', name), { bigint: true })
    t.strictSame([atimeNs, mtimeNs], [-1_000_000_001n, 5_000_000_000_123_456_789n], name)
  }
})

t.test('a tree is not copied into its own copy', async (t) => {
  const top = t.testdir({ tree: { file: 'file', copies: {} } })
  const [from, to] = await Promise.all([
    threads.run('openDirectory', top),
    threads.run('openDirectory', join(top, 'tree/copies'))
  ])
  const ends = { from: { directory: from, name: 'tree' }, to: { directory: to, name: 'copy' } }
  await threads.run('copyTree', {
    ...ends,
    fromMachine: false,
    owner: undefined,
    replace: false,
    control: new CopyControl().shared
  })
  fs.closeSync(from)
  fs.closeSync(to)
  t.strictSame(fs.readdirSync(join(top, 'tree/copies/copy/copies')), [])
  t.equal(fs.readFileSync(join(top, 'tree/copies/copy/file'), 'utf8'), 'file')
})

t.test('a cancelled copy ends, leaving no part of a file', async (t) => {
  const top = t.testdir({ tree: {} })
  fs.writeFileSync(join(top, 'tree/big'), Buffer.alloc(64 << 20, 'x'))
  const control = new CopyControl()
  control.cancel()
  await t.rejects(copy(top, 'tree', 'copied', { control }), { code: 'ECANCELED' })
  t.notOk(fs.existsSync(join(top, 'copied/big')))
})

t.test('of a copy that fails because the disk is full, only what was copied is left', asRoot, async (t) => {
  const top = mountThrowAwayDisk('tmpfs', 16)
  // Only threads that are started from now on see the disk.
  threads.close()
  const make = 'mkdir $d; head -c 1M /dev/zero >$d/big; test -e 1/f || touch 1/f; ln 1/f $d/linked'
  execFileSync('sh', ['-euc', `mkdir tree; cd tree; for d in $(seq 9); do ${make}; done`], { cwd: top })
  await t.rejects(copy(top, 'tree', 'copied'), { code: 'ENOSPC' })
  t.strictSame(
    fs.readdirSync(join(top, 'copied')).filter((name) => !/^\d$/.test(name)),
    []
  )
})

t.test(
  'failures name the file, and the rest is copied; what is missing altogether is an error of its own',
  async (t) => {
    const top = t.testdir({ tree: { a: { b: '' }, z: 'last' }, copied: { a: 'in the way' } })
    await t.rejects(copy(top, 'tree', 'copied'), { code: 'ENOTDIR', path: 'tree/a' })
    t.equal(fs.readFileSync(join(top, 'copied/z'), 'utf8'), 'last')
    await t.rejects(copy(top, 'none', 'x'), { code: 'ENOENT' })
    await t.rejects(threads.run('openDirectory', join(top, 'none')), { code: 'ENOENT' })
  }
)

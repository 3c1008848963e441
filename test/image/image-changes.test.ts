import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { lockImage, lockName } from '../../daemon/image/locks.ts'
import { mountThrowAwayDisk } from '../linux/throw-away-disk.ts'
import { ThrowAwayPool } from './throw-away-pool.ts'

if (process.getuid?.() !== 0) {
  t.plan(0, 'needs root')
  process.exit()
}

const MAKE_TREE = `
mkdir -p "$1/etc/deep" "$1/empty"; cd "$1"
echo host >etc/hostname; ln etc/hostname etc/again; ln -s /etc/passwd away; mkfifo pipe; mknod null c 1 3
truncate -s 1000000 holes; echo end >>holes
python3 -c 'import os
os.setxattr("etc/hostname", "user.note", b"kept"); os.setxattr("etc", "trusted.note", b"kept")'
chmod 4755 etc/hostname; chmod 1777 etc/deep; chown 12:34 etc; chown -h 56:78 away; chmod 0750 .
find . -exec touch -h -d '2001-02-03 04:05:06.123456789' {} +`

/** All that can be seen of a tree. */
function describe(path: string): string {
  return execFileSync('python3', [join(import.meta.dirname, '../daemon/copy-tree.py'), path], { encoding: 'utf8' })
}

/** Extended attributes of a file. */
function attributes(path: string): string {
  const script = 'import os, sys; print({n: os.getxattr(sys.argv[1], n) for n in sorted(os.listxattr(sys.argv[1]))})'
  return execFileSync('python3', ['-c', script, path], { encoding: 'utf8' })
}

for (const [kind, type] of [
  ['ext4', 'directory'],
  ['btrfs', 'subvolume']
] as const) {
  t.test(`images on ${kind}`, async (t) => {
    const pool = new ThrowAwayPool(mountThrowAwayDisk(kind, 200))
    t.teardown(() => {
      pool.close()
    })
    const { changes } = pool
    const make = (name: string): void => {
      if (type === 'subvolume') pool.sh(`btrfs subvolume create ${name}`)
      execFileSync('sh', ['-euc', MAKE_TREE, 'sh', join(pool.places.pool, name)])
    }
    const isReadOnly = (name: string): boolean => {
      const text = pool.sh(type === 'subvolume' ? `btrfs property get ${name} ro` : `lsattr -d ${name}`)
      return text.startsWith('ro=true') || /^....i/.test(text)
    }

    await t.test('a clone has all that its source has, and what belongs to it by its name', async (t) => {
      make('one')
      fs.writeFileSync(pool.path('settings/one.nspawn'), 'settings')
      fs.writeFileSync(pool.path('pool/one.roothash'), 'hash')
      await changes.clone(pool.image('one', type), 'two', false)
      t.equal(describe(pool.path('pool/two')), describe(pool.path('pool/one')))
      t.equal(attributes(pool.path('pool/two/etc')), "{'trusted.note': b'kept'}\n")
      t.equal(fs.readFileSync(pool.path('settings/two.nspawn'), 'utf8'), 'settings')
      t.equal(fs.readFileSync(pool.path('pool/two.roothash'), 'utf8'), 'hash')
      t.strictSame(pool.names(), ['one', 'one.roothash', 'two', 'two.roothash'], 'nothing else is left')
      t.strictSame(fs.readdirSync(pool.places.locks ?? ''), [])
    })

    await t.test('what a clone lies beside is where the clone lies', async (t) => {
      fs.symlinkSync(pool.path('pool/one'), pool.path('etc/linked'))
      fs.writeFileSync(pool.path('etc/linked.verity'), '')
      const { path } = pool.image('one', type)
      fs.mkdirSync(pool.path('elsewhere'))
      fs.renameSync(path, pool.path('elsewhere/one'))
      fs.writeFileSync(pool.path('elsewhere/one.verity'), 'beside')
      const image = { ...pool.image('elsewhere/one', type), name: 'one' }
      await changes.clone(image, 'three', true)
      t.equal(fs.readFileSync(pool.path('pool/three.verity'), 'utf8'), 'beside')
      t.notOk(fs.existsSync(pool.path('elsewhere/three.verity')))
      t.ok(isReadOnly('three'))
      fs.renameSync(pool.path('elsewhere/one'), path)
      fs.rmSync(pool.path('etc/linked'))
      fs.rmSync(pool.path('etc/linked.verity'))
    })

    await t.test('a clone has nothing of what its source is swapped for meanwhile', async (t) => {
      const [source, outside] = [pool.path('pool/swapped'), pool.path('outside')]
      if (type === 'subvolume') pool.sh('btrfs subvolume create swapped')
      const fill = 'for d in $(seq 40); do mkdir -p "$0/$d"; (cd "$0/$d"; touch $(seq 25)); done'
      execFileSync('sh', ['-euc', fill, source])
      fs.mkdirSync(outside)
      for (let number = 1; number <= 25; number++) fs.writeFileSync(join(outside, `secret-${String(number)}`), '')
      const swap =
        'while :; do for d in $(seq 40); do mv "$0/$d" "$1"; ln -s "$2" "$0/$d"; rm "$0/$d"; mv "$1" "$0/$d"; done; done'
      const swapping = spawn('sh', ['-c', swap, source, pool.path('away'), outside], { stdio: 'ignore' })
      try {
        for (let round = 0; round < 20; round++) {
          // What goes away while it is copied may fail the clone.
          await changes.clone(pool.image('swapped', type), 'swapped-copy', false).catch(() => undefined)
          if (!pool.names().includes('swapped-copy')) continue
          t.strictSame(pool.sh('find swapped-copy -name "secret-*"'), '')
          await changes.remove(pool.image('swapped-copy', type))
        }
      } finally {
        swapping.kill()
        await once(swapping, 'exit')
      }
      await changes.remove(pool.image('swapped', type))
      fs.rmSync(pool.path('away'), { recursive: true, force: true })
      t.strictSame(fs.readdirSync(outside).length, 25, 'nor did anything go that is elsewhere')
      fs.rmSync(outside, { recursive: true })
    })

    await t.test('read-only and back', async (t) => {
      await changes.setReadOnly(pool.image('two', type), true)
      t.ok(isReadOnly('two'))
      await changes.setReadOnly(pool.image('two', type), false)
      t.notOk(isReadOnly('two'))
      await changes.setReadOnly(pool.image('two', type), true)
      await t.rejects(changes.setReadOnly({ ...pool.image('two', type), name: '.two' }, false), { code: 'EROFS' })
    })

    await t.test('a new name is for the image, its settings and its side files, and leaves it read-only', async (t) => {
      const before = describe(pool.path('pool/two'))
      fs.writeFileSync(pool.path('settings/new.nspawn'), 'of somebody else')
      await changes.rename(pool.image('two', type), 'new')
      t.equal(describe(pool.path('pool/new')), before)
      t.ok(isReadOnly('new'))
      t.match(pool.names(), ['new', 'new.roothash'])
      t.notOk(pool.names().includes('two.roothash'))
      t.equal(fs.readFileSync(pool.path('settings/new.nspawn'), 'utf8'), 'of somebody else')
      await t.rejects(changes.rename(pool.image('new', type), 'one'), {
        code: 'EEXIST',
        message: 'Failed to rename image: File exists'
      })
      await t.rejects(changes.rename(pool.image('new', type), '.host'), { code: 'EBUSY' })
      await t.rejects(changes.rename(pool.image('new', type), 'a/b'), { message: "Image name 'a/b' is invalid." })
      await t.rejects(changes.clone(pool.image('new', type), 'one', false), { code: 'EEXIST' })
    })

    await t.test('what is removed is gone, though it was read-only, with all that belongs to it', async (t) => {
      await changes.remove(pool.image('new', type))
      await changes.remove(pool.image('three', type))
      t.strictSame(pool.names(), ['one', 'one.roothash'])
      t.notOk(fs.existsSync(pool.path('settings/new.nspawn')))
    })

    await t.test('of an image behind a link, it is the link that is renamed and removed', async (t) => {
      fs.mkdirSync(pool.path('elsewhere/target'))
      fs.symlinkSync('../elsewhere/target', pool.path('etc/link'))
      await changes.rename(pool.image('etc/link', 'directory'), 'renamed')
      t.equal(fs.readlinkSync(pool.path('etc/renamed')), '../elsewhere/target')
      fs.writeFileSync(pool.path('elsewhere/disk'), '')
      fs.symlinkSync('../elsewhere/disk', pool.path('etc/disk.raw'))
      await changes.rename(pool.image('etc/disk.raw', 'raw'), 'other')
      t.equal(fs.readlinkSync(pool.path('etc/other.raw')), '../elsewhere/disk')
      await changes.remove(pool.image('etc/renamed', 'directory'))
      await changes.remove(pool.image('etc/other.raw', 'raw'))
      t.strictSame(fs.readdirSync(pool.path('etc')), [])
      t.ok(fs.existsSync(pool.path('elsewhere/target')))
      t.ok(fs.existsSync(pool.path('elsewhere/disk')))
    })

    await t.test('disk images are copied with their holes, as old as their source', async (t) => {
      pool.sh(`truncate -s 30M disk.raw; echo data | dd of=disk.raw bs=1M seek=10 conv=notrunc status=none
        python3 -c 'import os; os.setxattr("disk.raw", "user.note", b"kept")'; touch -d @1 disk.raw; echo h >disk.roothash`)
      await changes.clone(pool.image('disk.raw', 'raw'), 'copy', true)
      pool.sh('cmp disk.raw copy.raw')
      const stat = fs.statSync(pool.path('pool/copy.raw'))
      t.equal(stat.mode, 0o100444)
      t.equal(stat.mtimeMs, 1000)
      t.ok(stat.blocks < 1000, 'holes are kept')
      t.equal(
        attributes(pool.path('pool/copy.raw')),
        "{'user.crtime_usec': b'\\x05\\x00\\x00\\x00\\x00\\x00\\x00\\x00', 'user.note': b'kept'}\n"
      )
      t.equal(pool.sh('cat copy.roothash'), 'h\n')
      await changes.setReadOnly(pool.image('copy.raw', 'raw'), false)
      t.equal(fs.statSync(pool.path('pool/copy.raw')).mode, 0o100644)
      await changes.rename(pool.image('copy.raw', 'raw'), 'moved')
      t.ok(fs.existsSync(pool.path('pool/moved.roothash')))
      await changes.remove(pool.image('moved.raw', 'raw'))
      await changes.remove(pool.image('disk.raw', 'raw'))
      t.strictSame(pool.names(), ['one', 'one.roothash'])
    })

    await t.test('an image that somebody holds is busy, and what is held by us is so for others', async (t) => {
      {
        using held = lockImage(pool.path('pool/one'), 'shared', pool.places)
        t.ok(held)
        await t.rejects(changes.remove(pool.image('one', type)), { code: 'EBUSY' })
        await t.rejects(changes.rename(pool.image('one', type), 'x'), { code: 'EBUSY' })
        await t.rejects(changes.setReadOnly(pool.image('one', type), true), { code: 'EBUSY' })
        await changes.clone(pool.image('one', type), 'clone', false)
      }
      using reserved = lockName('x', pool.places)
      t.ok(reserved)
      await t.rejects(changes.clone(pool.image('one', type), 'x', false), { code: 'EBUSY' })
      await changes.remove(pool.image('clone', type))
    })

    await t.test('an image with something mounted in it is busy, and stays whole', async (t) => {
      pool.sh('mount -t tmpfs tmpfs one/empty; echo x >one/empty/kept')
      const before = describe(pool.path('pool/one'))
      await t.rejects(changes.remove(pool.image('one', type)), { code: 'EBUSY' })
      t.equal(describe(pool.path('pool/one')), before)
      pool.sh('umount one/empty')
    })

    await t.test('where nothing more fits, or a copy is cancelled, nothing is left of it', async (t) => {
      pool.sh('mkdir big; head -c 40M /dev/zero | tr "\\0" x >big/file')
      const tmpfs = pool.path('small')
      fs.mkdirSync(tmpfs)
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=20m', 'tmpfs', tmpfs])
      const small = new ThrowAwayPool(tmpfs)
      const image = pool.image('big', 'directory')
      await t.rejects(small.changes.clone(image, 'copy', false), { code: 'ENOSPC' })
      pool.sh('mv big/file big.raw')
      await t.rejects(small.changes.clone(pool.image('big.raw', 'raw'), 'copy', false), { code: 'ENOSPC' })
      t.strictSame(small.names(), [])
      pool.sh('mv big.raw big/file')
      // Its first thread takes long to start, so that this is too early for it to be done.
      const fresh = new ThrowAwayPool(pool.top)
      const cloning = fresh.changes.clone(image, 'copy', false)
      for (const operation of fresh.operations.all()) operation.cancel()
      await t.rejects(cloning, { code: 'ECANCELED' })
      while ([...fresh.operations.all()].length > 0) await setImmediate()
      fresh.close()
      t.strictSame(pool.names(), ['big', 'one', 'one.roothash'])
      await changes.remove(image)
      small.close()
    })

    await t.test('a file system that cannot be written says so, and nothing changes', async (t) => {
      pool.sh('mount -o remount,ro "$(dirname "$PWD")"')
      const image = pool.image('one', type)
      const erofs = { code: 'EROFS' }
      await t.rejects(changes.remove(image), erofs)
      await t.rejects(changes.rename(image, 'x'), erofs)
      await t.rejects(changes.clone(image, 'x', false), erofs)
      await t.rejects(changes.setReadOnly(image, true), erofs)
      pool.sh('mount -o remount,rw "$(dirname "$PWD")"')
      t.strictSame(pool.names(), ['one', 'one.roothash'])
    })

    await t.test('cleaning removes what is hidden or all, but not what is busy', async (t) => {
      for (const name of ['.hidden', '.busy', 'seen']) make(name)
      pool.images = ['.hidden', '.busy', 'seen'].map((name) => pool.image(name, type))
      const path = pool.path('pool/.hidden')
      execFileSync(
        type === 'subvolume' ? 'btrfs' : 'chattr',
        type === 'subvolume' ? ['property', 'set', path, 'ro', 'true'] : ['+i', path]
      )
      {
        using held = lockImage(pool.path('pool/.busy'), 'exclusive', pool.places)
        t.ok(held)
        t.match(await changes.clean('hidden'), [{ name: '.hidden', usageExclusive: 2n }])
      }
      pool.images = ['.busy', 'seen'].map((name) => pool.image(name, type))
      t.strictSame(
        (await changes.clean('all')).map(({ name }) => name),
        ['.busy', 'seen']
      )
      t.strictSame(pool.names(), ['one', 'one.roothash'])
    })
  })
}

t.test('what is no image of a kind that can be changed is refused', async (t) => {
  const pool = new ThrowAwayPool(t.testdir({ pool: { stack: {}, one: {} } }))
  t.teardown(() => {
    pool.close()
  })
  const stack = pool.image('stack', 'mstack')
  await t.rejects(pool.changes.clone(stack, 'x', false), { code: /^E(OPNOTSUPP|NOTSUP)$/ })
  await t.rejects(pool.changes.rename(stack, 'x'), { code: /^E(OPNOTSUPP|NOTSUP)$/ })
  await t.rejects(pool.changes.setReadOnly(stack, true), { code: /^E(OPNOTSUPP|NOTSUP)$/ })
  await t.rejects(pool.changes.setLimit(pool.image('one', 'directory'), 5n), { code: /^E(OPNOTSUPP|NOTSUP)$/ })
  const vendor = { ...pool.image('one', 'directory'), path: '/usr/lib/machines/one', entry: '/usr/lib/machines/one' }
  await t.rejects(pool.changes.remove(vendor), { code: 'EROFS' })
  await t.rejects(pool.changes.rename(vendor, 'x'), { code: 'EROFS' })
  await t.rejects(pool.changes.setReadOnly(vendor, true), { code: 'EROFS' })
})

t.test('what a killed daemon left is removed, unless somebody works on it', async (t) => {
  const pool = new ThrowAwayPool(
    t.testdir({
      pool: {
        '.#0123456789abcdef.machined-clone': { file: '' },
        '.#0123456789abcdef.machined-clone.lck': '',
        '.#00000000000000ff.machined-removal.lck': '',
        '.#fedcba9876543210.machined-removal': {},
        '.#other0123456789abcdef': {},
        'image.v': { '.#0123456789abcde0.machined-removal': {} },
        image: {}
      }
    })
  )
  t.teardown(() => {
    pool.close()
  })
  const lock = join(pool.places.pool, '.#fedcba9876543210.machined-removal.lck')
  const script = `import fcntl, os, struct, sys; fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.fcntl(fd, 37, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0)); print('locked', flush=True); sys.stdin.read()`
  const holder = spawn('python3', ['-c', script, lock], { stdio: ['pipe', 'pipe', 'inherit'] })
  await once(holder.stdout, 'data')
  await pool.changes.removeLeftovers()
  const busy = ['.#fedcba9876543210.machined-removal', '.#fedcba9876543210.machined-removal.lck']
  t.strictSame(pool.names(), [...busy, '.#other0123456789abcdef', 'image', 'image.v'].sort())
  t.strictSame(fs.readdirSync(pool.path('pool/image.v')), [])
  holder.stdin.end()
  await once(holder, 'exit')
  await pool.changes.removeLeftovers()
  t.strictSame(pool.names(), ['.#other0123456789abcdef', 'image', 'image.v'])
})

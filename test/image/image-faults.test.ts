import * as fs from 'node:fs'
import t from 'tap'
import { mountThrowAwayDisk } from '../linux/throw-away-disk.ts'
import { ThrowAwayPool } from './throw-away-pool.ts'

if (process.getuid?.() !== 0) {
  t.plan(0, 'needs root')
  process.exit()
}

/** Mounts a disk at `broken` of which the second half is lost, and with it most of a file that was written last. */
const BREAK = `
truncate -s 40M ../disk; mkfs.ext4 -q ../disk; mkdir broken; mount -o loop ../disk broken
mkdir broken/etc; echo whole >broken/etc/whole; head -c 30M /dev/urandom >broken/etc/torn
sync -f broken; python3 -c 'import os
fd = os.open("broken/etc/torn", os.O_RDONLY); os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)'
truncate -s 12M ../disk`

t.test('a disk that fails half-way leaves nothing behind of a clone', async (t) => {
  const pool = new ThrowAwayPool(mountThrowAwayDisk('ext4', 200))
  t.teardown(() => {
    pool.close()
  })
  pool.sh(BREAK)
  t.equal(fs.readFileSync(pool.path('pool/broken/etc/whole'), 'utf8'), 'whole\n')
  await t.rejects(pool.changes.clone(pool.image('broken', 'directory'), 'copy', false), { code: 'EIO' })
  const torn = { ...pool.image('pool/broken/etc/torn', 'raw'), name: 'torn' }
  await t.rejects(pool.changes.clone(torn, 'copy', false), { code: 'EIO' })
  t.strictSame(pool.names(), ['broken'])
  t.strictSame(fs.readdirSync(pool.places.locks ?? ''), [])
})

t.test('an image that was swapped for a link since it was found leads nowhere', async (t) => {
  const pool = new ThrowAwayPool(mountThrowAwayDisk('ext4', 20))
  t.teardown(() => {
    pool.close()
  })
  pool.sh('mkdir tree ../elsewhere; echo kept >../elsewhere/file; echo disk >disk.raw')
  const [tree, disk] = [pool.image('tree', 'directory'), pool.image('disk.raw', 'raw')]
  pool.sh('rmdir tree; ln -s ../elsewhere tree; ln -sf ../elsewhere/file disk.raw')
  for (const image of [tree, disk]) {
    await t.rejects(pool.changes.clone(image, 'copy', false), { code: /^E(LOOP|NOTDIR)$/ })
    await t.rejects(pool.changes.setReadOnly(image, true), { code: /^E(LOOP|NOTDIR)$/ })
  }
  t.strictSame(pool.names(), ['disk.raw', 'tree'])
  await pool.changes.remove(tree)
  await pool.changes.remove(disk)
  t.strictSame(pool.names(), [], 'the links are gone')
  t.equal(
    pool.sh('cat ../elsewhere/file; stat -c %a ../elsewhere/file; lsattr -d ../elsewhere | cut -c5'),
    'kept\n644\n-\n'
  )
})

t.test('a block device is made read-only and writable again', async (t) => {
  const pool = new ThrowAwayPool(mountThrowAwayDisk('tmpfs', 20))
  t.teardown(() => {
    pool.close()
  })
  const device = pool.sh('truncate -s 1M disk; losetup --find --show disk').trim()
  try {
    pool.sh(`ln -s ${device} block`)
    const isReadOnly = (): boolean => pool.sh(`blockdev --getro ${device}`) === '1\n'
    await pool.changes.setReadOnly(pool.image('block', 'block'), true)
    t.ok(isReadOnly())
    await pool.changes.setReadOnly(pool.image('block', 'block'), false)
    t.notOk(isReadOnly())
  } finally {
    pool.sh(`losetup -d ${device}`)
  }
})

import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  createSubvolume,
  destroySubvolume,
  isOnBtrfs,
  readSubvolume,
  setSubvolumeReadOnly,
  snapshotSubvolume
} from '../../daemon/linux/btrfs.ts'
import { limitGroup, readSubtreeQuota, subtreeGroup } from '../../daemon/linux/btrfs-quota.ts'
import { removeSubvolumeTree, setTreeReadOnly, snapshotTree } from '../../daemon/linux/btrfs-tree.ts'
import { nameOf } from '../../daemon/linux/file-at.ts'
import { mountThrowAwayDisk } from './throw-away-disk.ts'

if (process.getuid?.() !== 0) {
  t.plan(0, 'needs root')
  process.exit()
}
const disk = mountThrowAwayDisk('btrfs', 200)
const top = fs.openSync(disk, 'r')
const at = (name: string): { directory: number; name: Buffer } => ({ directory: top, name: nameOf(name) })
const btrfs = (...args: string[]): string => execFileSync('btrfs', args, { cwd: disk, encoding: 'utf8', stdio: 'pipe' })

/** Does something with an open directory of the disk. */
function using<T>(path: string, work: (fd: number) => T): T {
  const fd = fs.openSync(join(disk, path), 'r')
  try {
    return work(fd)
  } finally {
    fs.closeSync(fd)
  }
}

/** Paths of all subvolumes, sorted. */
function subvolumes(): string[] {
  const lines = btrfs('subvolume', 'list', '.').trim().split('\n')
  return lines.flatMap((line) => /path (.*)$/.exec(line)?.[1] ?? []).sort()
}

t.test('a subvolume is made, described as btrfs itself does, made read-only and destroyed', (t) => {
  const before = BigInt(Date.now()) * 1000n
  createSubvolume(at('one'))
  t.throws(
    () => {
      createSubvolume(at('one'))
    },
    { code: 'EEXIST' }
  )
  const info = using('one', readSubvolume)
  t.match(btrfs('subvolume', 'show', 'one'), new RegExp(`Subvolume ID:\\s+${String(info.id)}\n`))
  t.equal(info.parent, 5n)
  t.notOk(info.readOnly)
  t.ok(info.created >= before - 1_000_000n && info.created <= BigInt(Date.now()) * 1000n, 'times are microseconds')
  using('one', (fd) => {
    setSubvolumeReadOnly(fd, true)
    t.ok(readSubvolume(fd).readOnly)
  })
  t.throws(
    () => {
      fs.writeFileSync(join(disk, 'one/file'), '')
    },
    { code: 'EROFS' }
  )
  destroySubvolume(at('one'))
  t.strictSame(subvolumes(), [])
  t.end()
})

t.test('what is on btrfs is told from what is not', (t) => {
  fs.mkdirSync(join(disk, 'plain'))
  t.ok(using('.', isOnBtrfs))
  t.ok(using('plain', isOnBtrfs))
  const other = fs.openSync('/proc', 'r')
  t.notOk(isOnBtrfs(other))
  fs.closeSync(other)
  t.end()
})

t.test('a snapshot has what its source has, apart from nested subvolumes', (t) => {
  createSubvolume(at('source'))
  fs.writeFileSync(join(disk, 'source/file'), 'text')
  using('source', (fd) => {
    snapshotSubvolume(fd, at('snapshot'))
  })
  t.equal(fs.readFileSync(join(disk, 'snapshot/file'), 'utf8'), 'text')
  destroySubvolume(at('source'))
  destroySubvolume(at('snapshot'))
  t.end()
})

t.test('trees of subvolumes are copied, made read-only and removed, odd names, read-only and all', (t) => {
  createSubvolume(at('tree'))
  fs.mkdirSync(join(disk, 'tree/a/b'), { recursive: true })
  for (const path of ['tree/a/b/nested', 'tree/a/b/nested/within', 'tree/outer']) btrfs('subvolume', 'create', path)
  const odd = Buffer.from(`${disk}/tree/a/odd \xff\n name/`, 'latin1')
  fs.mkdirSync(odd)
  const oddFd = fs.openSync(odd, 'r')
  createSubvolume({ directory: oddFd, name: Buffer.from('\xfe\0', 'latin1') })
  fs.closeSync(oddFd)
  fs.writeFileSync(join(disk, 'tree/a/b/nested/within/file'), 'text')
  btrfs('property', 'set', 'tree/a/b/nested', 'ro', 'true')
  using('tree', (fd) => {
    snapshotTree(fd, at('copy'))
  })
  t.equal(fs.readFileSync(join(disk, 'copy/a/b/nested/within/file'), 'utf8'), 'text')
  const inside = (name: string): string[] =>
    subvolumes()
      .filter((path) => path.startsWith(name))
      .map((path) => path.slice(name.length))
  t.strictSame(inside('copy'), inside('tree'))
  t.equal(inside('copy').length, 5)
  using('copy', setTreeReadOnly)
  for (const path of ['copy', 'copy/a/b/nested/within', 'copy/outer']) t.ok(using(path, readSubvolume).readOnly, path)
  removeSubvolumeTree(at('copy'))
  removeSubvolumeTree(at('tree'))
  t.strictSame(subvolumes(), [])
  t.end()
})

t.test('a tree is not copied into its own copy', (t) => {
  createSubvolume(at('host'))
  for (const path of ['host/pool', 'host/pool/other']) btrfs('subvolume', 'create', path)
  using('host', (host) => {
    using('host/pool', (pool) => {
      snapshotTree(host, { directory: pool, name: nameOf('clone') })
    })
  })
  t.strictSame(subvolumes(), [
    'host',
    'host/pool',
    'host/pool/clone',
    'host/pool/clone/pool',
    'host/pool/clone/pool/other',
    'host/pool/other'
  ])
  t.strictSame(fs.readdirSync(join(disk, 'host/pool/clone/pool')), ['other'])
  removeSubvolumeTree(at('host'))
  t.end()
})

t.test('quota groups: read, limited, copied with a snapshot, gone with it', (t) => {
  createSubvolume(at('counted'))
  t.throws(() => using('counted', readSubtreeQuota), { code: 'ENOENT' }, 'quota is off')
  btrfs('quota', 'enable', '.')
  const id = String(using('counted', (fd) => readSubvolume(fd).id))
  btrfs('qgroup', 'create', `255/${id}`, '.')
  btrfs('qgroup', 'assign', `0/${id}`, `255/${id}`, '.')
  fs.writeFileSync(join(disk, 'counted/file'), Buffer.alloc(1 << 20, 'x'))
  btrfs('filesystem', 'sync', '.')
  btrfs('quota', 'rescan', '-w', '.')
  using('counted', (fd) => {
    const group = subtreeGroup(fd, readSubvolume(fd).id)
    t.equal(group, (255n << 48n) | BigInt(id))
    limitGroup(fd, group, 50_000_000n)
    const quota = readSubtreeQuota(fd)
    t.ok(quota.referenced >= 1n << 20n && quota.referenced < 2n << 20n)
    t.equal(quota.referencedLimit, 50_000_000n)
    t.equal(quota.exclusiveLimit, 2n ** 64n - 1n)
    snapshotTree(fd, at('snapshot'))
  })
  const copy = using('snapshot', (fd) => ({ quota: readSubtreeQuota(fd), id: readSubvolume(fd).id }))
  t.equal(copy.quota.referencedLimit, 50_000_000n, 'the limit holds for the copy as well')
  t.match(btrfs('qgroup', 'show', '.'), new RegExp(`255/${String(copy.id)}\\b`))
  using('counted', (fd) => {
    limitGroup(fd, subtreeGroup(fd, BigInt(id)), 2n ** 64n - 1n)
    t.equal(readSubtreeQuota(fd).referencedLimit, 2n ** 64n - 1n)
  })
  removeSubvolumeTree(at('snapshot'))
  removeSubvolumeTree(at('counted'))
  t.notMatch(btrfs('qgroup', 'show', '.'), /255\//)
  t.end()
})

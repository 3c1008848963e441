import { execFileSync } from 'node:child_process'
import { mkdtempSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { unshare } from '../../daemon/linux/libc.ts'

const CLONE_NEWNS = 0x20000

/**
 * Gives this process a view of mounts of its own and an empty file system mounted in it; gives its directory. All of it goes
 * with the process. Only *Sync calls, child processes and threads started later see it. Needs root.
 */
export function mountThrowAwayDisk(kind: 'btrfs' | 'ext4' | 'tmpfs', mebibytes: number): string {
  unshare(CLONE_NEWNS)
  execFileSync('mount', ['--make-rprivate', '/'])
  execFileSync('mount', ['-t', 'tmpfs', 'throw-away', '/mnt'])
  const directory = mkdtempSync('/mnt/disk-')
  if (kind === 'tmpfs') {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${String(mebibytes)}m`, 'throw-away', directory])
    return directory
  }
  const file = join('/mnt', `${kind}.disk`)
  writeFileSync(file, '')
  truncateSync(file, mebibytes * 1024 * 1024)
  execFileSync(`mkfs.${kind}`, ['-q', file])
  execFileSync('mount', ['-o', 'loop', file, directory])
  return directory
}

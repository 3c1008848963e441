import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { ifPossible } from '../../daemon/base/errors.ts'
import { CopyControl } from '../../daemon/linux/copy-control.ts'
import { nameOf } from '../../daemon/linux/file-at.ts'
import { removeTree } from '../../daemon/linux/remove-tree.ts'
import { filesOfSecond } from './second-thread.ts'
import { mountThrowAwayDisk } from './throw-away-disk.ts'

if (process.getuid?.() !== 0) {
  t.plan(0, 'needs root')
  process.exit()
}
const disk = mountThrowAwayDisk('btrfs', 200)
const top = fs.openSync(disk, 'r')
const sh = (script: string): void => {
  execFileSync('sh', ['-euc', script], { cwd: disk, stdio: 'pipe' })
}
const remove = (name: string, control = new CopyControl()): void => {
  removeTree({ directory: top, name: nameOf(name) }, control)
}

/** The files on the disk that this process has open. */
function openFiles(): string[] {
  const fds = fs.readdirSync('/proc/self/fd')
  const paths = fds.flatMap((fd) => ifPossible(() => fs.readlinkSync(`/proc/self/fd/${fd}`)) ?? [])
  return paths.filter((path) => path.startsWith(disk))
}

t.test('all kinds of files go, and what links lead to stays', async (t) => {
  sh(`mkdir -p outside tree/a/b/c; echo kept >outside/kept; cd tree
    ln -s ../outside link; ln -s /nowhere gone; mkfifo pipe; mknod null c 1 3; echo x >a/file; ln a/file a/b/again
    for n in $(seq 500); do : >a/b/c/$n; done; chmod 0 a/b`)
  const control = new CopyControl()
  remove('tree', control)
  t.strictSame(fs.readdirSync(disk), ['outside'])
  t.strictSame(fs.readdirSync(join(disk, 'outside')), ['kept'])
  t.equal(control.progress.files, 510)
  t.strictSame(openFiles(), [disk])
  remove('outside')
})

t.test('two threads remove a tree that takes long, each file once', (t) => {
  const control = new CopyControl()
  let files = 0
  // Until it takes so long that the second one comes to it.
  for (let size = 10; filesOfSecond(control) === 0 && size < 1000; size *= 2) {
    // Also directories that have both files and directories in them, and such as cannot be emptied without further ado.
    sh(`mkdir tree; cd tree; for a in $(seq ${size}); do mkdir $a; for b in $(seq 10); do
      mkdir $a/$b $a/$b/below; (cd $a/$b; seq 50 | xargs touch; cd below; seq 50 | xargs touch)
      done; touch $a/file; chattr +i $a/file $a/1 $a/1/below; done`)
    remove('tree', control)
    files += size * (1 + 1 + 10 * (2 + 100)) + 1
    t.strictSame(fs.readdirSync(disk), [])
    t.equal(control.progress.files, files)
    if (availableParallelism() === 1) break
  }
  t.ok(filesOfSecond(control) > 0 || availableParallelism() === 1)
  t.end()
})

t.test('flags that protect files do not', (t) => {
  sh(
    'mkdir -p tree/a/b; echo x >tree/a/b/file; echo x >tree/a/log; chattr +i tree/a/b/file tree/a/b tree; chattr +a tree/a/log tree/a'
  )
  remove('tree')
  t.strictSame(fs.readdirSync(disk), [])
  t.end()
})

t.test('nested subvolumes go as well, read-only ones too', (t) => {
  sh(`mkdir tree; cd tree; for path in sub sub/within; do btrfs subvolume create $path; done
    echo x >sub/within/file; btrfs property set sub ro true`)
  remove('tree')
  t.strictSame(fs.readdirSync(disk), [])
  t.end()
})

t.test('what is mounted in it is not touched', (t) => {
  sh('mkdir -p tree/mounted; mount -t tmpfs tmpfs tree/mounted; echo kept >tree/mounted/kept')
  t.throws(
    () => {
      remove('tree')
    },
    { code: 'EBUSY' }
  )
  t.strictSame(fs.readdirSync(join(disk, 'tree/mounted')), ['kept'])
  sh('umount tree/mounted')
  remove('tree')
  t.end()
})

t.test('no tree is too deep', (t) => {
  sh(`python3 -c "
import os
os.mkdir('tree'); os.chdir('tree')
for n in range(3000): os.mkdir('x' * 200); os.chdir('x' * 200); open('file', 'w')
"`)
  remove('tree')
  t.strictSame(fs.readdirSync(disk), [])
  t.end()
})

t.test('it ends when told to', (t) => {
  sh('mkdir tree; echo x >tree/file')
  const control = new CopyControl()
  control.cancel()
  t.throws(
    () => {
      remove('tree', control)
    },
    { code: 'ECANCELED' }
  )
  t.strictSame(fs.readdirSync(join(disk, 'tree')), ['file'])
  t.end()
})

t.test('a file system that cannot be written says so', (t) => {
  sh('mount -o remount,ro .')
  t.throws(
    () => {
      remove('tree')
    },
    { code: 'EROFS' }
  )
  t.end()
})

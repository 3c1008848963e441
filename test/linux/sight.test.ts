import * as fs from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { isUnchanged, lookFor, type Sight } from '../../daemon/linux/sight.ts'

const O_PATH = 0x200000
const FILE = 'usr/lib/file'
const LINK = 'etc/file'
const PATHS = [LINK, FILE]

/** A directory with these two names, as they are to be. */
function makeRoot(t: Test, content: Parameters<Test['testdir']>[0]): { path: string; root: number } {
  const path = t.testdir(content)
  const root = fs.openSync(path, O_PATH)
  t.teardown(() => {
    fs.closeSync(root)
  })
  return { path, root }
}

/** What is seen when the last change is long enough ago. */
async function seeSettled(root: number): Promise<Sight> {
  for (;;) {
    const sight = lookFor(root, PATHS)
    if (sight !== undefined) return sight
    await sleep(50)
  }
}

const usual = (t: Test): Parameters<Test['testdir']>[0] => ({
  etc: { file: t.fixture('symlink', '../usr/lib/file') },
  usr: { lib: { file: 'first', other: 'other' } }
})

const CHANGES: readonly { what: string; change: (path: string) => void }[] = [
  {
    what: 'new content of the same length',
    change: (path) => {
      fs.writeFileSync(join(path, FILE), 'again')
    }
  },
  {
    what: 'another file',
    change: (path) => {
      fs.renameSync(join(path, 'usr/lib/other'), join(path, FILE))
    }
  },
  {
    what: 'another mode',
    change: (path) => {
      fs.chmodSync(join(path, FILE), 0o600)
    }
  },
  {
    what: 'no file',
    change: (path) => {
      fs.rmSync(join(path, FILE))
    }
  },
  {
    what: 'no link',
    change: (path) => {
      fs.rmSync(join(path, LINK))
    }
  },
  {
    what: 'another link',
    change: (path) => {
      fs.symlinkSync('../usr/lib/other', join(path, 'etc/new'))
      fs.renameSync(join(path, 'etc/new'), join(path, LINK))
    }
  },
  {
    what: 'a directory of another name',
    change: (path) => {
      fs.renameSync(join(path, 'usr'), join(path, 'old'))
    }
  }
]

t.test('what is seen stays the same until something changes', { jobs: CHANGES.length }, (t) => {
  for (const { what, change } of CHANGES) {
    t.test(what, async (t) => {
      const { path, root } = makeRoot(t, usual(t))
      const sight = await seeSettled(root)
      t.equal(isUnchanged(sight), true)
      t.equal(isUnchanged(sight), true)
      change(path)
      t.equal(isUnchanged(sight), false)
    })
  }
  t.end()
})

t.test('a file at the first of the names is all that counts', async (t) => {
  const { path, root } = makeRoot(t, { etc: { file: 'own' }, usr: { lib: { file: 'first' } } })
  const sight = await seeSettled(root)
  fs.rmSync(join(path, FILE))
  t.equal(isUnchanged(sight), true)
  fs.writeFileSync(join(path, LINK), 'new')
  t.equal(isUnchanged(sight), false)
})

t.test('a name that comes before the one that was found changes it', async (t) => {
  const { path, root } = makeRoot(t, { etc: {}, usr: { lib: { file: 'first' } } })
  const sight = await seeSettled(root)
  t.equal(isUnchanged(sight), true)
  fs.writeFileSync(join(path, LINK), 'new')
  t.equal(isUnchanged(sight), false)
})

t.test('what has just been changed is not yet seen, nor a file that is somewhere else or none', async (t) => {
  const { path, root } = makeRoot(t, usual(t))
  t.equal(lookFor(root, PATHS), undefined)
  await seeSettled(root)
  fs.writeFileSync(join(path, FILE), 'again')
  t.equal(lookFor(root, PATHS), undefined)

  const elsewhere = makeRoot(t, {
    etc: { file: t.fixture('symlink', '../usr/lib/other') },
    usr: { lib: { file: 'first', other: 'other' } }
  })
  const nothing = makeRoot(t, { etc: { file: { directory: '' } }, usr: { lib: {} } })
  const nowhere = makeRoot(t, { etc: { file: t.fixture('symlink', 'nowhere') }, usr: { lib: { file: 'first' } } })
  const roundabout = makeRoot(t, {
    etc: { file: t.fixture('symlink', '../way/../usr/lib/file') },
    way: {},
    usr: { lib: { file: 'first' } }
  })
  const linked = makeRoot(t, {
    etc: t.fixture('symlink', 'real'),
    real: { file: 'own' },
    usr: { lib: { file: 'first' } }
  })
  await seeSettled(makeRoot(t, usual(t)).root)
  t.equal(lookFor(elsewhere.root, PATHS), undefined)
  t.equal(lookFor(nothing.root, PATHS), undefined)
  t.equal(lookFor(roundabout.root, PATHS), undefined, 'what the link leads through could change')
  t.equal(lookFor(linked.root, PATHS), undefined, 'so could a link on the way')
  t.equal(lookFor(nowhere.root, PATHS), undefined, 'there can be something where the link leads to')
})

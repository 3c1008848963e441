import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { JobThreads } from '../../daemon/linux/job-threads.ts'
import { projectDirectory } from '../host/root.ts'

t.test('to start a thread may take longer than the job is waited for', async (t) => {
  const module = join(projectDirectory(), 'dist/daemon/linux/thread-jobs.js')
  const folder = t.testdir({
    'slow.mjs': `
      import { serveJobs } from '${module}'
      for (const end = Date.now() + 1500; Date.now() < end; );
      serveJobs({ say: (word) => word })`
  })
  const threads = new JobThreads<{ say: (word: string) => string }>(pathToFileURL(join(folder, 'slow.mjs')))
  t.equal(await threads.run('say', 'hello', { patience: { ms: 500, subject: 'words' } }), 'hello')
  threads.close()
})

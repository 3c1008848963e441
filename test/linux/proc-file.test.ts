import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { readProcFile } from '../../daemon/linux/proc-file.ts'

const LIMIT = 64 * 1024 * 1024

t.test('reads what the kernel makes up, also in many pieces', (t) => {
  t.equal(readProcFile('/proc/self/cgroup', LIMIT), readFileSync('/proc/self/cgroup', 'utf8'))
  // Longer than what is read at once, and with a line that the kernel ends each piece with.
  const symbols = '/proc/kallsyms'
  t.ok(readFileSync(symbols).length > 256 * 1024)
  t.equal(readProcFile(symbols, LIMIT), readFileSync(symbols, 'utf8'))
  t.equal(readProcFile('/proc/self/cgroup', LIMIT), readFileSync('/proc/self/cgroup', 'utf8'), 'a short one after that')
  t.end()
})

t.test('fails as the kernel says, and leaves no descriptor open', (t) => {
  const open = readdirSync('/proc/self/fd').length
  t.throws(() => readProcFile('/proc/self/status', 10), { code: 'EFBIG' })
  t.throws(() => readProcFile('/proc/self/none', LIMIT), { code: 'ENOENT', path: '/proc/self/none' })
  t.throws(() => readProcFile('/proc/self', LIMIT), { code: 'EISDIR' })
  t.equal(readdirSync('/proc/self/fd').length, open)
  t.end()
})

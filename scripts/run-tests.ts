/**
 * Runs the tests: tap with its closing summary, then one plain line `N passed, N failed`, and tap's exit status.
 * Arguments go to tap, so single test files can be named.
 */
import { spawn } from 'node:child_process'
import { createReadStream, mkdirSync, rmSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { once } from 'node:events'
import { countTests } from './tap-count.ts'

const record = '.tap/machined-run.tap'
mkdirSync('.tap', { recursive: true })
rmSync(record, { force: true })

const tap = spawn(
  'npx',
  ['tap', 'run', '--disable-coverage', '--reporter=terse', `--output-file=${record}`, ...process.argv.slice(2)],
  { stdio: 'inherit' }
)
await once(tap, 'close')

const counts = await countTests(createInterface({ input: createReadStream(record) }))
// Once more at the end, where it is found in a long log.
for (const failure of counts.failures) console.log(`\nfailed: ${failure}`)
if (counts.skipped > 0) console.log(`${String(counts.skipped)} skipped`)
console.log(`${String(counts.passed)} passed, ${String(counts.failed)} failed`)
// Tap was killed: no exit code at all, which must not pass for success.
process.exitCode = tap.exitCode ?? 1

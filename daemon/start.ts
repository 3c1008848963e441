import { join } from 'node:path'
import { compileAsUsual, compileEarly } from './base/early-compilation.ts'
import { KeptProgram } from './base/kept-program.ts'

// What the units start: loads main.cjs, whose code is kept in the unit's RuntimeDirectory= when the daemon ends.

/** Before, nearly all runs for the first time, and those who are waiting for it need the CPUs more than the compiler. */
const COMPILE_AFTER_MS = 1000

const directory = process.env.RUNTIME_DIRECTORY
const program = new KeptProgram(join(import.meta.dirname, 'main.cjs'), directory && join(directory, 'code'))
setTimeout(compileEarly, COMPILE_AFTER_MS).unref()
// Before the handler of main.ts, which does not return.
process.on('exit', (status) => {
  if (status !== 0) return
  // Code is taken again only by who has the flags that it was kept with.
  compileAsUsual()
  program.keep()
})
program.run()

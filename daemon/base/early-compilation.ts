import { setFlagsFromString } from 'node:v8'
import { nodeMajor } from './node-version.ts'

/** The bytes of bytecode that a function may run, again and again, before V8 thinks of compiling it. */
const BUDGET = 10_000
const DEFAULT_BUDGET = 67_584
/** The first Node whose V8 counts calls instead; by its own counts those of Node 24 are compiled early enough. */
const FIRST_WITHOUT = 22

/**
 * Has V8 compile early what is called again and again: most calls are too rare for it ever to find them worth it. Not in
 * the unit's command line, as Node refuses to start with a flag that its V8 does not know.
 */
export function compileEarly(): void {
  setBudget(BUDGET)
}

/** Undoes compileEarly(). */
export function compileAsUsual(): void {
  setBudget(DEFAULT_BUDGET)
}

function setBudget(bytes: number): void {
  if (nodeMajor < FIRST_WITHOUT) setFlagsFromString(`--interrupt-budget=${String(bytes)}`)
}

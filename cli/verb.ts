import type { Daemon } from './daemon.ts'
import type { Options } from './options.ts'
import type { Output } from './output.ts'

/** What a verb is given. */
export interface Call {
  /** Between `least` and `most` of them. */
  readonly args: readonly string[]
  readonly options: Options
  readonly daemon: Daemon
  readonly output: Output
}

/** One verb of the command line: all that running it, help and completion need to know. */
export interface Verb {
  /** The heading it stands under in the help. */
  readonly group: string
  /** Its arguments as the help shows them. */
  readonly usage: string
  readonly help: string
  /** Lines of the help for what the verb's first arguments can be. */
  readonly words?: readonly (readonly [usage: string, help: string])[]
  readonly least: number
  readonly most: number
  /** Throws Failure. */
  readonly run: (call: Call) => Promise<void>
}

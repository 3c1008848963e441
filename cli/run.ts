import { Daemon } from './daemon.ts'
import { Failure } from './failure.ts'
import { helpText, versionText } from './help.ts'
import { readArguments, type Options } from './options.ts'
import { Output } from './output.ts'
import type { Verb } from './verb.ts'
import { verbs } from './verbs.ts'

/** Does what the command line says and gives the exit status. */
export async function run(argv: readonly string[]): Promise<number> {
  try {
    await perform(readArguments(argv))
    return 0
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    process.stderr.write(`${error.message}\n`)
    return 1
  }
}

async function perform({ words, options }: { words: readonly string[]; options: Options }): Promise<void> {
  const [name, ...args] = words
  if (options.help || name === 'help') process.stdout.write(helpText())
  else if (options.version) process.stdout.write(versionText())
  else await performVerb(findVerb(name), args, options)
}

async function performVerb(verb: Verb, args: readonly string[], options: Options): Promise<void> {
  if (args.length < verb.least) throw new Failure('Too few arguments.')
  if (args.length > verb.most) throw new Failure('Too many arguments.')
  const daemon = await Daemon.connect({ interactive: options.askPassword })
  try {
    await verb.run({ args, options, daemon, output: new Output(options) })
  } finally {
    daemon.close()
  }
}

function findVerb(name: string | undefined): Verb {
  if (name === undefined) throw new Failure(`Command verb required (one of ${Object.keys(verbs).join(', ')}).`)
  const verb = Object.hasOwn(verbs, name) ? verbs[name] : undefined
  if (verb === undefined) throw new Failure(`Unknown command verb '${name}'.`)
  return verb
}

import { parseArgs } from 'node:util'
import { Failure } from './failure.ts'

/** How `--json=` wants output. */
export type JsonMode = 'pretty' | 'short' | 'off'

/** What the options of a command line come to. */
export interface Options {
  readonly help: boolean
  readonly version: boolean
  readonly legend: boolean
  readonly pager: boolean
  readonly askPassword: boolean
  readonly json: JsonMode
  readonly readOnly: boolean
  readonly recursive: boolean
  readonly lazy: boolean
}

/** One option; `value` is what its argument is called in the help. */
export interface OptionRow {
  readonly type: 'boolean' | 'string'
  readonly short?: string
  readonly value?: string
  readonly help: string
}

const flag = { type: 'boolean' } as const

/** All options with their help, in its order. Each verb takes those that it knows and does not mind others. */
export const optionTable = {
  help: { ...flag, short: 'h', help: 'Show this help' },
  version: { ...flag, help: 'Show the version' },
  'no-pager': { ...flag, help: 'Do not pipe output into a pager' },
  'no-legend': { ...flag, help: 'Do not show the headers and footers' },
  'no-ask-password': { ...flag, help: 'Do not ask for system passwords' },
  json: { type: 'string', value: 'MODE', help: 'Print JSON: pretty, short or off' },
  'read-only': { ...flag, help: 'Mount read-only' },
  recursive: { ...flag, help: "Mount with the machine's /proc, /sys and /dev" },
  lazy: { ...flag, help: 'Take a mount away even when it is in use' }
} as const satisfies Readonly<Record<string, OptionRow>>

/** Takes a command line apart. Throws Failure for an option that there is not, as getopt_long(3) words it. */
export function readArguments(argv: readonly string[]): { words: string[]; options: Options } {
  const { values, positionals } = parse(argv)
  return {
    words: positionals,
    options: {
      help: values.help === true,
      version: values.version === true,
      legend: values['no-legend'] !== true,
      pager: values['no-pager'] !== true,
      askPassword: values['no-ask-password'] !== true,
      json: jsonMode(values.json),
      readOnly: values['read-only'] === true,
      recursive: values.recursive === true,
      lazy: values.lazy === true
    }
  }
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], allowPositionals: true, options: optionTable })
  } catch (error) {
    throw new Failure(`machinedctl: ${complaint(error)}`)
  }
}

/** parseArgs(), whose words differ, names the option in quotes. */
function complaint(error: unknown): string {
  const { code, message } = error as { code?: string; message: string }
  const option = /'(?:-\w, )?(-[^' =]*)/.exec(message)?.[1] ?? ''
  if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION') return `unrecognized option '${option}'`
  if (!message.includes('does not take')) return `option '${option}' requires an argument`
  return `option '${option}' doesn't allow an argument`
}

function jsonMode(word = 'off'): JsonMode {
  if (word === 'pretty' || word === 'short' || word === 'off') return word
  throw new Failure(`Unknown argument to --json= switch: ${word}`)
}

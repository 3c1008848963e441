import { version } from '../daemon/base/version.ts'
import { optionTable, type OptionRow } from './options.ts'
import { verbs } from './verbs.ts'

/** A heading, or a thing and what it is about. */
type Line = string | readonly [left: string, help: string]

/** What `--help` prints. */
export function helpText(): string {
  const lines = [...verbLines(), '', 'Options:', ...optionLines()]
  const width = Math.max(...lines.map((line) => (typeof line === 'string' ? 0 : line[0].length)))
  const text = lines.map((line) => (typeof line === 'string' ? line : `  ${line[0].padEnd(width)}  ${line[1]}`))
  return [
    'machinedctl [OPTIONS...] COMMAND ...',
    '',
    'Do with virtual machines and containers what only machined can; all else is in machinectl(1).',
    ...text,
    ''
  ].join('\n')
}

/** What `--version` prints. */
export function versionText(): string {
  return `machinedctl ${version()}\n`
}

/** Each group under its heading. */
function verbLines(): Line[] {
  let heading = ''
  return Object.entries(verbs).flatMap(([name, { group, usage, help, words = [] }]) => {
    const rows: Line[] = [
      [`${name} ${usage}`.trimEnd(), help],
      ...words.map(([word, what]): Line => [`  ${word}`, what])
    ]
    if (group === heading) return rows
    heading = group
    return ['', `${group}:`, ...rows]
  })
}

function optionLines(): Line[] {
  return Object.entries<OptionRow>(optionTable).map(([name, { short, value, help }]) => {
    const letter = short === undefined ? '   ' : `-${short} `
    return [`${letter}--${name}${value === undefined ? '' : `=${value}`}`, help]
  })
}

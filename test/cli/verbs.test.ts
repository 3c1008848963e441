import { readFileSync } from 'node:fs'
import t from 'tap'
import { helpText } from '../../cli/help.ts'
import { optionTable } from '../../cli/options.ts'
import { verbs } from '../../cli/verbs.ts'

const names = Object.keys(verbs)
const options = Object.keys(optionTable).map((name) => `--${name}`)
const words = (text: string): string[] => text.match(/(?:--)?[\w-]+/g) ?? []

t.test('machinectl hands on all verbs', (t) => {
  const row = /^ +(.*)\) exec @PREFIX@\/bin\/machinedctl/m.exec(readFileSync('cli/bin/machinectl', 'utf8'))?.[1]
  t.strictSame(row?.split(' | '), names)
  t.end()
})

t.test('completion knows all verbs and options', (t) => {
  const bash = readFileSync('cli/completion/machinedctl.bash', 'utf8')
  t.strictSame(words(/^_machinedctl_verbs='(.*)'$/m.exec(bash)?.[1] ?? ''), names)
  t.strictSame(words(/^_machinedctl_options='(.*)'$/m.exec(bash)?.[1] ?? ''), options)
  const zsh = readFileSync('cli/completion/_machinedctl', 'utf8')
  t.strictSame(words(/'1:verb:\((.*)\)'/.exec(zsh)?.[1] ?? ''), names)
  for (const option of options) t.match(zsh, new RegExp(`${option}[='[},]`), option)
  t.end()
})

t.test('help has a line for each verb and option, under headings', (t) => {
  const help = helpText()
  for (const word of [...names, ...options]) t.match(help, new RegExp(`^ +(-\\w )?${word}[ =]`, 'm'), word)
  for (const { group } of Object.values(verbs)) t.equal(help.split(`\n${group}:\n`).length, 2, group)
  t.end()
})

import t from 'tap'
import { readArguments } from '../../cli/options.ts'

t.test('words and options stand in any order', (t) => {
  const { words, options } = readArguments(['--lazy', 'umount', 'c1', '--json=short', '--no-pager', '--', '--odd'])
  t.strictSame(words, ['umount', 'c1', '--odd'])
  t.match(options, { lazy: true, json: 'short', pager: false, legend: true, askPassword: true, readOnly: false })
  t.end()
})

t.test('what is no option is said as by getopt', (t) => {
  const complaints: Readonly<Record<string, string>> = {
    '--nope': "machinedctl: unrecognized option '--nope'",
    '--nope=3': "machinedctl: unrecognized option '--nope'",
    '-x': "machinedctl: unrecognized option '-x'",
    '--lazy=3': "machinedctl: option '--lazy' doesn't allow an argument",
    '--json': "machinedctl: option '--json' requires an argument",
    '--json=xml': 'Unknown argument to --json= switch: xml'
  }
  for (const [argument, message] of Object.entries(complaints)) {
    t.throws(() => readArguments([argument]), { name: 'Failure', message }, argument)
  }
  t.end()
})

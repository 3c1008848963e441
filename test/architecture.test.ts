import t from 'tap'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The layers of daemon/, bottom first. A file imports from its own layer and those in an earlier row. */
const layers: readonly (readonly string[])[] = [
  ['base'],
  ['linux'],
  ['bus'],
  ['image', 'network'],
  ['machine'],
  ['config.ts'],
  ['machine-config.ts', 'network-files.ts'],
  ['instance.ts'],
  ['manager.ts'],
  ['api'],
  // Prints what api/ knows of its tables.
  ['command-line.ts', 'idle-exit.ts'],
  ['main.ts'],
  // Loads it.
  ['start.ts']
]

/** What of the daemon cli/ shares; it sees all else through the bus. */
const sharedWithClients = ['daemon/base', 'daemon/bus']

/** Who may import a package. */
const owners: Readonly<Record<string, readonly string[]>> = {
  koffi: ['daemon/linux/libc.ts'],
  pino: ['daemon/base/log.ts'],
  'dbus-next': ['daemon/bus/client-bus.ts'],
  netlink: ['daemon/linux/netlink-package.ts'],
  ini: ['daemon/config.ts']
}

/** What the outer world's side must not reach for: both servers only translate. */
const strangers: readonly (readonly [string, string])[] = [
  ['daemon/api/dbus', 'daemon/api/varlink'],
  ['daemon/api/varlink', 'daemon/api/dbus']
]

const importPattern =
  /^\s*(?:import|export)\b[^'"]*?\bfrom\s+['"]([^'"]+)['"]|^\s*import\s+['"]([^'"]+)['"]|\b(?:import|require)\(\s*['"]([^'"]+)['"]\s*\)/gm

function sourceFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name))
}

function importsOf(text: string): string[] {
  return [...text.matchAll(importPattern)].map((match) => match[1] ?? match[2] ?? match[3] ?? '')
}

/** The row of `layers` that a file below daemon/ is in, -1 for none. */
function layerOf(file: string): number {
  const top = file.split('/')[1] ?? ''
  return layers.findIndex((row) => row.includes(top))
}

const files = sourceFiles('daemon')
const clientFiles = sourceFiles('cli')

t.test('imports point downwards', (t) => {
  for (const file of files) {
    const own = layerOf(file)
    t.ok(own >= 0, `${file} is in a known layer`)
    for (const name of importsOf(readFileSync(file, 'utf8'))) {
      if (!name.startsWith('.')) continue
      const target = join(dirname(file), name)
      const sameFolder = target.split('/')[1] === file.split('/')[1]
      const other = layerOf(target)
      if (!sameFolder && (other < 0 || other >= own)) t.fail(`${file} imports ${target}`)
      for (const [from, to] of strangers) {
        if (file.startsWith(from) && target.startsWith(to)) t.fail(`${file} imports ${target}`)
      }
      if (!name.endsWith('.ts')) t.fail(`${file} imports ${name} without .ts`)
    }
  }
  t.end()
})

t.test('cli/ shares the wire with the daemon, and nothing else', (t) => {
  for (const file of clientFiles) {
    for (const name of importsOf(readFileSync(file, 'utf8'))) {
      if (!name.startsWith('.')) continue
      const target = join(dirname(file), name)
      const allowed = ['cli', ...sharedWithClients].some((folder) => target.startsWith(`${folder}/`))
      t.ok(allowed && name.endsWith('.ts'), `${file} imports ${target}`)
    }
  }
  for (const file of files) t.notMatch(importsOf(readFileSync(file, 'utf8')).join(' '), '/cli/', file)
  t.end()
})

t.test('each package has its owner', (t) => {
  for (const file of [...files, ...clientFiles]) {
    for (const name of importsOf(readFileSync(file, 'utf8'))) {
      const allowed = owners[name.split('/')[0] ?? name]
      if (allowed !== undefined) t.ok(allowed.includes(file), `${file} imports ${name}`)
    }
  }
  t.end()
})

t.test('named exports, no enum', (t) => {
  for (const file of [...files, ...clientFiles, ...sourceFiles('scripts')]) {
    const text = readFileSync(file, 'utf8')
    t.notMatch(text, /^export default\b/m, `${file} has no default export`)
    t.notMatch(text, /^\s*(?:export\s+)?(?:const\s+)?enum\s/m, `${file} has no enum`)
  }
  t.end()
})

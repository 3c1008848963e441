/**
 * Writes dbus-policy/ from the method tables; with --check only compares and fails when a file is out of date.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { busPolicy, polkitPolicy } from './policy-files.ts'

const files = {
  'org.freedesktop.machine1.conf': busPolicy(),
  'org.freedesktop.machine1.policy': polkitPolicy()
}

for (const [name, text] of Object.entries(files)) {
  const path = join('dbus-policy', name)
  if (!process.argv.includes('--check')) {
    writeFileSync(path, text)
  } else if (readFileSync(path, 'utf8') !== text) {
    console.error(`${path} is out of date: run "make policy"`)
    process.exitCode = 1
  }
}

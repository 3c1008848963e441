import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { join } from 'node:path'
import { systemError } from '../base/errors.ts'
import type { ImagePlaces } from './places.ts'

/** What an image of this name can be called in a search directory (spec/dbus.md 8.2), with what counts there. */
const FORMS: readonly (readonly [suffix: string, counts: (stat: fs.Stats) => boolean])[] = [
  ['', (stat) => stat.isDirectory() || stat.isBlockDevice()],
  ['.raw', (stat) => stat.isFile()],
  ['.mstack', (stat) => stat.isDirectory()],
  ['.v', (stat) => stat.isDirectory()],
  ['.raw.v', (stat) => stat.isDirectory()],
  ['.mstack.v', (stat) => stat.isDirectory()]
]

/** Throws EEXIST when there is an image of this name anywhere, an empty directory of versions included. */
export function requireFreeName(name: string, { search }: ImagePlaces): void {
  const taken = search.some((directory) =>
    FORMS.some(([suffix, counts]) => {
      const stat = fs.statSync(join(directory, name + suffix), { throwIfNoEntry: false })
      return stat !== undefined && counts(stat)
    })
  )
  if (taken) throw systemError(os.errno.EEXIST, 'image', name)
}

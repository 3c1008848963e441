import * as fs from 'node:fs'
import { closeFd } from './libc.ts'
import type { Place } from './namespace-jobs.ts'
import { openat2 } from './openat2.ts'

const O_PATH = 0x200000

/** A descriptor (O_PATH) of a directory, looked up from the root of the machine's mount namespace. */
export function openDirectory(place: Place, path: string): number {
  return place.inNamespace(() => {
    const root = fs.openSync('/', O_PATH | fs.constants.O_DIRECTORY)
    try {
      return place.give(openat2(root, path, O_PATH | fs.constants.O_DIRECTORY))
    } finally {
      closeFd(root)
    }
  })
}

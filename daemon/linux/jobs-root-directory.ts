import * as fs from 'node:fs'
import type { Place } from './namespace-jobs.ts'
import { openat2 } from './openat2.ts'

/** A readable descriptor of the machine's root directory. No name inside the machine is followed. */
export function openRootDirectory(place: Place): number {
  return place.give(openat2(place.rootFd, '.', fs.constants.O_RDONLY | fs.constants.O_DIRECTORY))
}

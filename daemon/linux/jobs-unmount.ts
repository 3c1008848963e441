import { findHolders, type Holder } from './mount-holders.ts'
import { detachMount } from './mount.ts'
import type { Place } from './namespace-jobs.ts'

/** Jobs on mounts of the host, which can be slow: to be run with the daemon itself as the leader. */

/** Who uses what is mounted at a path, or on it. */
export function holdersOf(_place: Place, path: string): Holder[] {
  return findHolders(path)
}

/** Takes the topmost mount at a path away, see `detachMount`. */
export function detachPath(_place: Place, path: string): void {
  detachMount(path)
}

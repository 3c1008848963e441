import type { CopyControl } from '../../daemon/linux/copy-control.ts'

/** How many of the files that a control has counted were the second thread's. */
export function filesOfSecond({ shared }: CopyControl): number {
  return new Float64Array(shared, 8)[3] ?? 0
}

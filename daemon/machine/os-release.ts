import { explain } from '../base/errors.ts'
import { readFileBounded } from '../linux/file.ts'
import type { NamespaceWorkers } from '../linux/namespace-workers.ts'
import { firstOf, OS_RELEASE_LIMIT, parseOSRelease } from '../linux/jobs-os-release.ts'
import { leaderOfContainer, type Machine } from './machine.ts'

/**
 * The assignments of a machine's os-release(5), in the order of the file (spec/dbus.md 7.3). Throws NotSupported for a
 * VM; ENOENT where there is no such file, EFBIG, EINVAL for what is none, ETIMEDOUT, EBUSY.
 */
export async function osReleaseOf(machine: Machine, workers: NamespaceWorkers): Promise<[string, string][]> {
  try {
    if (machine.class === 'host') return readOfHost()
    const leader = leaderOfContainer(machine, 'Requesting OS release data')
    return await workers.run(machine, { leader }, 'readOSRelease', undefined)
  } catch (error) {
    throw explain('Failed to get OS release', error)
  }
}

function readOfHost(): [string, string][] {
  const read = (path: string): string => readFileBounded(path, OS_RELEASE_LIMIT)
  const override = process.env['SYSTEMD_OS_RELEASE']
  const text = override === undefined ? firstOf((path) => read(`/${path}`)) : read(override)
  return parseOSRelease(text)
}

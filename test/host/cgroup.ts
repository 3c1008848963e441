import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const PREFIX = 'machined-test-'
const LEFT_ALONE_MS = 5000

let created = 0

/** Makes the cgroup a host lives in, named after this process. Removes those left by processes that are gone. */
export function createCgroup(): string {
  const top = cgroup2Mount()
  for (const name of readdirSync(top)) {
    const pid = /^machined-test-(\d+)-\d+$/.exec(name)?.[1]
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) void removeCgroup(join(top, name))
  }
  const path = join(top, `${PREFIX}${String(process.pid)}-${String(created++)}`)
  // The number of a dead process may come round again while its cgroup is still being cleared away.
  if (existsSync(path)) return createCgroup()
  mkdirSync(path)
  return path
}

/** Kills what is left in a cgroup and removes it with all below. Gives up after 5 s: the next createCgroup() tries again. */
export async function removeCgroup(path: string): Promise<void> {
  const end = Date.now() + LEFT_ALONE_MS
  while (existsSync(path)) {
    try {
      writeFileSync(join(path, 'cgroup.kill'), '1')
      removeTree(path)
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined
      if (code === 'ENOENT') continue
      // EBUSY: killed processes take a moment to go.
      if (code !== 'EBUSY' || Date.now() > end) return
      await sleep(20)
    }
  }
}

function removeTree(path: string): void {
  for (const name of readdirSync(path)) {
    const child = join(path, name)
    if (statSync(child).isDirectory()) removeTree(child)
  }
  rmdirSync(path)
}

function cgroup2Mount(): string {
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n')) {
    const [, path, type] = line.split(' ')
    if (type === 'cgroup2' && path !== undefined) return path
  }
  throw new Error('No cgroup2 file system is mounted')
}

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'

const TOP = '/proc/sys'

/** Sets a setting of sysctl(8), such as `net/ipv4/ip_forward`, where it has another value. Throws what fs throws. */
export function setSysctl(name: string, value: string): void {
  const path = `${TOP}/${name}`
  if (readFileSync(path, 'utf8').trim() !== value) writeFileSync(path, value)
}

/** Its value; undefined where the kernel has no such setting. */
export function getSysctl(name: string): string | undefined {
  try {
    return readFileSync(`${TOP}/${name}`, 'utf8').trim()
  } catch {
    return undefined
  }
}

/** The names of the interfaces that have settings of a family (`ipv4` or `ipv6`), without `all` and `default`. */
export function configuredInterfaces(family: string): string[] {
  return readdirSync(`${TOP}/net/${family}/conf`).filter((name) => name !== 'all' && name !== 'default')
}

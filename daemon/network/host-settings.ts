import { mkdirSync, rmSync } from 'node:fs'
import { isSystemError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { writeFileAtomically } from '../linux/file.ts'
import { configuredInterfaces, getSysctl, setSysctl } from '../linux/sysctl.ts'
import type { NetworkConfig } from './network-config.ts'

const MIRROR_DIRECTORY = '/run/sysctl.d'
const MIRROR = `${MIRROR_DIRECTORY}/60-machined.conf`

/**
 * Makes the host route between its bridge and the world (networking.md 7.7). Written to /run/sysctl.d as well, lest
 * systemd-sysctl undoes it. Forwarding is not switched off again: others may count on it by then.
 */
export function enableRouting(
  bridge: string,
  config: Pick<NetworkConfig, 'localhostForward' | 'subnet4' | 'subnet6'>
): void {
  const settings: [string, string][] = []
  if (config.subnet4 !== 'off') {
    settings.push(['net/ipv4/ip_forward', '1'], [`net/ipv4/conf/${bridge}/rp_filter`, '2'])
    settings.push([`net/ipv4/conf/${bridge}/route_localnet`, config.localhostForward ? '1' : '0'])
  }
  if (config.subnet6 !== 'off' && getSysctl('net/ipv6/conf/all/forwarding') !== undefined) {
    // A host that forwards takes no router's word any more, unless it is told to (2).
    if (getSysctl('net/ipv6/conf/all/forwarding') === '0') settings.push(...routersKept(bridge))
    settings.push([`net/ipv6/conf/${bridge}/accept_ra`, '0'], ['net/ipv6/conf/all/forwarding', '1'])
  }
  for (const [name, value] of settings) set(name, value)
  mirror(settings)
}

/** Takes the settings back that go with a bridge. */
export function forgetRouting(): void {
  rmSync(MIRROR, { force: true })
}

function routersKept(bridge: string): [string, string][] {
  return ['default', ...configuredInterfaces('ipv6')]
    .filter((name) => name !== bridge && getSysctl(`net/ipv6/conf/${name}/accept_ra`) === '1')
    .map((name) => [`net/ipv6/conf/${name}/accept_ra`, '2'])
}

function set(name: string, value: string): void {
  try {
    setSysctl(name, value)
  } catch (error) {
    // An interface may be gone again, and a kernel may lack a setting.
    if (!isSystemError(error) || error.code !== 'ENOENT') log.warn({ err: error }, `Failed to set ${name} to ${value}`)
  }
}

function mirror(settings: readonly (readonly [string, string])[]): void {
  const lines = settings.map(([name, value]) => `-${name} = ${value}\n`)
  try {
    mkdirSync(MIRROR_DIRECTORY, { recursive: true })
    writeFileAtomically(MIRROR, `# Written by machined.\n${lines.join('')}`, 0o644)
  } catch (error) {
    log.warn({ err: error }, `Failed to write ${MIRROR}`)
  }
}

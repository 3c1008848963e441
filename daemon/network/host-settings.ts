import { mkdirSync, rmSync } from 'node:fs'
import { isSystemError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { writeFileAtomically } from '../linux/file.ts'
import { configuredInterfaces, getSysctl, setSysctl } from '../linux/sysctl.ts'
import type { NetworkConfig } from './network-config.ts'

const MIRROR_DIRECTORY = '/run/sysctl.d'
const MIRROR = `${MIRROR_DIRECTORY}/60-machined.conf`

/** What the host routes by, for the bridges of all networks (networking.md 7.7). */
export class HostSettings {
  readonly #byBridge = new Map<string, Settings>()

  /**
   * Makes the host route between a bridge and the world. Written to /run/sysctl.d as well, lest systemd-sysctl undoes it.
   * Forwarding is not switched off again: others may count on it by then.
   */
  enable(config: Pick<NetworkConfig, 'bridge' | 'localhostForward' | 'subnet4' | 'subnet6'>): void {
    const settings = settingsFor(config)
    for (const [name, value] of settings) set(name, value)
    this.#byBridge.set(config.bridge, settings)
    this.#mirror()
  }

  /** Takes the settings back that go with a bridge. */
  forget(bridge: string): void {
    if (this.#byBridge.delete(bridge)) this.#mirror()
  }

  /** Takes them all back, those of an earlier daemon as well. */
  forgetAll(): void {
    this.#byBridge.clear()
    rmSync(MIRROR, { force: true })
  }

  #mirror(): void {
    const settings = new Map([...this.#byBridge.values()].flat())
    const lines = Array.from(settings, ([name, value]) => `-${name} = ${value}\n`)
    try {
      if (lines.length === 0) rmSync(MIRROR, { force: true })
      else writeMirror(`# Written by machined.\n${lines.join('')}`)
    } catch (error) {
      log.warn({ err: error }, `Failed to write ${MIRROR}`)
    }
  }
}

type Settings = readonly (readonly [name: string, value: string])[]

function settingsFor({
  bridge,
  localhostForward,
  subnet4,
  subnet6
}: Pick<NetworkConfig, 'bridge' | 'localhostForward' | 'subnet4' | 'subnet6'>): Settings {
  const settings: [string, string][] = []
  if (subnet4 !== 'off') {
    settings.push(['net/ipv4/ip_forward', '1'], [`net/ipv4/conf/${bridge}/rp_filter`, '2'])
    settings.push([`net/ipv4/conf/${bridge}/route_localnet`, localhostForward ? '1' : '0'])
  }
  if (subnet6 !== 'off' && getSysctl('net/ipv6/conf/all/forwarding') !== undefined) {
    // A host that forwards takes no router's word any more, unless it is told to (2).
    if (getSysctl('net/ipv6/conf/all/forwarding') === '0') settings.push(...routersKept(bridge))
    settings.push([`net/ipv6/conf/${bridge}/accept_ra`, '0'], ['net/ipv6/conf/all/forwarding', '1'])
  }
  return settings
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

function writeMirror(text: string): void {
  mkdirSync(MIRROR_DIRECTORY, { recursive: true })
  writeFileAtomically(MIRROR, text, 0o644)
}

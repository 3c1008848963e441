import { mkdirSync, rmSync } from 'node:fs'
import { isSystemError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { readFileBounded, writeFileAtomically } from '../linux/file.ts'
import { configuredInterfaces, getSysctl, setSysctl } from '../linux/sysctl.ts'
import type { NetworkConfig } from './network-config.ts'

const MIRROR_DIRECTORY = '/run/sysctl.d'
const MIRROR = `${MIRROR_DIRECTORY}/60-machined.conf`
const LIMIT = 1024 * 1024

type Config = Pick<NetworkConfig, 'bridge' | 'localhostForward' | 'subnet4' | 'subnet6'>

/** What a setting is by our doing, and what it was before. */
interface Setting {
  readonly value: string
  readonly before: string
}

/**
 * What the host routes by, for the bridges of all networks (networking.md 7.7). It is in /run/sysctl.d as well, lest
 * systemd-sysctl undoes it, and from there the next daemon knows what was before.
 */
export class HostSettings {
  #settings: Map<string, Setting> | undefined

  /** Makes the host route between a bridge and the world. What fails is logged. */
  enable(config: Config): void {
    this.#apply(settingsFor(config))
  }

  /** Lets what is from 127.0.0.0/8 go to an interface that others see to. What fails is logged. */
  routeLocalhost(interfaceName: string): void {
    this.#apply([[`net/ipv4/conf/${interfaceName}/route_localnet`, '1']])
  }

  /**
   * Lets go of what goes with a bridge; one that stays has it as it was before. Forwarding is not switched off again:
   * others may count on it by then.
   */
  forget(bridge: string, stays: boolean): void {
    for (const [name, { before }] of this.#all()) {
      if (!name.includes(`/conf/${bridge}/`)) continue
      this.#all().delete(name)
      if (stays) set(name, before)
    }
    this.#mirror()
  }

  /** Lets go of all. */
  forgetAll(): void {
    this.#settings = new Map()
    rmSync(MIRROR, { force: true })
  }

  #apply(wanted: readonly (readonly [name: string, value: string])[]): void {
    const settings = this.#all()
    for (const [name, value] of wanted) {
      const present = getSysctl(name)
      // A kernel may lack one.
      if (present === undefined) continue
      const { before } = settings.get(name) ?? { before: present }
      settings.set(name, { value, before })
      set(name, value)
    }
    this.#mirror()
  }

  #all(): Map<string, Setting> {
    return (this.#settings ??= readMirror())
  }

  #mirror(): void {
    try {
      mkdirSync(MIRROR_DIRECTORY, { recursive: true })
      const lines = Array.from(
        this.#all(),
        ([name, { value, before }]) => `# ${name} was ${before}\n-${name} = ${value}\n`
      )
      writeFileAtomically(MIRROR, `# Written by machined.\n${lines.join('')}`, 0o644)
    } catch (error) {
      log.warn({ err: error }, `Failed to write ${MIRROR}`)
    }
  }
}

function readMirror(): Map<string, Setting> {
  try {
    const found = readFileBounded(MIRROR, LIMIT).matchAll(/^# (\S+) was (.*)\n-\1 = (.*)$/gm)
    return new Map(Array.from(found, ([, name = '', before = '', value = '']) => [name, { value, before }]))
  } catch (error) {
    if (!isSystemError(error) || error.code !== 'ENOENT') log.warn({ err: error }, `Failed to read ${MIRROR}, ignoring`)
    return new Map()
  }
}

function settingsFor({ bridge, localhostForward, subnet4, subnet6 }: Config): [name: string, value: string][] {
  const settings: [string, string][] = []
  if (subnet4 !== 'off') {
    settings.push(['net/ipv4/ip_forward', '1'], [`net/ipv4/conf/${bridge}/rp_filter`, '2'])
    settings.push([`net/ipv4/conf/${bridge}/route_localnet`, localhostForward ? '1' : '0'])
  }
  if (subnet6 !== 'off') {
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

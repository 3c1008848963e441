import type { NetworkConfig } from './network-config.ts'
import type { NetworkManager } from './network-manager.ts'
import type { Networkd } from './networkd.ts'

/** What is asked of systemd-networkd, and what it is told. */
export type NetworkdView = Pick<Networkd, 'runs' | 'leaveAlone' | 'isConfigured'>

/** Others on the host who manage links: who of them and us has the links of machines (networking.md 7.8). */
export class LinkManagers {
  readonly #manage: NetworkConfig['manage']
  readonly #bridge: string
  readonly #networkd: NetworkdView
  readonly #networkManager: Pick<NetworkManager, 'leaveAlone'>

  constructor(
    { manage, backend, bridge }: Pick<NetworkConfig, 'manage' | 'backend' | 'bridge'>,
    networkd: NetworkdView,
    networkManager: Pick<NetworkManager, 'leaveAlone'>
  ) {
    this.#manage = backend === 'builtin' ? manage : 'no'
    this.#bridge = bridge
    this.#networkd = networkd
    this.#networkManager = networkManager
  }

  /** Whether the links of machines that start now are ours. */
  get leaveLinksToUs(): boolean {
    return this.#manage === 'yes' || (this.#manage === 'auto' && !this.#networkd.runs)
  }

  /** Whether systemd-networkd runs on the host. */
  get hasNetworkd(): boolean {
    return this.#networkd.runs
  }

  /** Whether an administrator has told systemd-networkd what to do with this link. */
  isConfigured(link: string): boolean {
    return this.#networkd.isConfigured(link)
  }

  /** Tells them to keep their hands off these links, and off no others: with Manage=yes also off those that come yet. */
  async leaveAlone(bridges: readonly string[], ports: readonly string[]): Promise<void> {
    const isAll = this.#manage === 'yes'
    const ownBridges = isAll ? [...new Set([this.#bridge, 'mn-*', ...bridges])] : bridges
    const others = ports.filter((name) => !name.startsWith('ve-'))
    const veths = isAll ? ['ve-*'] : ports.filter((name) => name.startsWith('ve-'))
    const any = ownBridges.length > 0
    this.#networkManager.leaveAlone(any ? [...ownBridges, 've-*', ...others] : [])
    await this.#networkd.leaveAlone([...ownBridges, ...veths, ...others])
  }
}

import { readFileSync } from 'node:fs'
import { log } from './base/log.ts'
import { Operations } from './base/operations.ts'
import type { ServiceManager } from './bus/systemd.ts'
import type { Config } from './config.ts'
import { ImageChanges } from './image/image-changes.ts'
import { ImageMounts } from './image/image-mounts.ts'
import { ImageNews } from './image/image-news.ts'
import { Images } from './image/images.ts'
import { MetadataReader } from './image/metadata.ts'
import type { Instance } from './instance.ts'
import { copyThreads } from './linux/copy-threads.ts'
import { NetworkNamespace } from './linux/namespace.ts'
import { NamespaceWorkers } from './linux/namespace-workers.ts'
import { PidRef } from './linux/process.ts'
import type { Firewalld } from './network/firewalld.ts'
import type { NetworkManager } from './network/network-manager.ts'
import type { Networkd } from './network/networkd.ts'
import type { NetworkMember } from './network/member.ts'
import { Networks } from './network/networks.ts'
import { readMachineConfig } from './machine-config.ts'
import { listNetworkFiles, readNetworkFile } from './network-files.ts'
import { OtherFirewalls } from './network/other-firewalls.ts'
import { Machine, NO_VSOCK_CID } from './machine/machine.ts'
import { Machines } from './machine/machines.ts'
import { MountDirectory } from './machine/mount-directory.ts'
import { Addresses } from './machine/addresses.ts'
import { OSReleases } from './machine/os-release.ts'
import { RootMounts } from './machine/root-mounts.ts'
import { StateDirectory } from './machine/state-file.ts'

const NETWORK_STATE_DIRECTORY = '/var/lib/machined/network'
const NETWORK_RUNTIME_DIRECTORY = '/run/machined/network'

/** Other programs of the host that have to do with networks. */
export interface Neighbours {
  readonly networkd: Networkd
  readonly networkManager: NetworkManager
  readonly firewalld: Firewalld
}

/** All that a call can reach. */
export class Manager {
  readonly instance: Instance
  readonly systemd: ServiceManager
  readonly machines: Machines
  readonly network = new NetworkNamespace()
  readonly workers = new NamespaceWorkers()
  readonly osReleases: OSReleases
  readonly addresses: Addresses
  readonly copies = copyThreads()
  readonly operations = new Operations()
  readonly mounts: RootMounts
  readonly config: Config
  readonly firewalls: OtherFirewalls
  readonly networks: Networks
  readonly images: Images
  readonly imageChanges: ImageChanges
  readonly imageNews: ImageNews
  readonly metadata: MetadataReader
  readonly #state: StateDirectory

  constructor(instance: Instance, systemd: ServiceManager, { networkd, networkManager, firewalld }: Neighbours) {
    this.instance = instance
    this.systemd = systemd
    this.config = instance.readConfig()
    this.images = new Images(instance.images)
    this.imageChanges = new ImageChanges(this.images, this.operations, (name, newName) => {
      // Leases are the system's.
      if (instance.hasHost) this.networks.followImage(name, newName)
    })
    this.imageNews = new ImageNews(this.images)
    this.imageChanges.onChange = () => {
      this.imageNews.lookAgain()
    }
    this.metadata = new MetadataReader(this.images)
    this.#state = new StateDirectory(instance.stateDirectory)
    this.machines = new Machines(systemd, this.#state, instance.unitOf)
    this.osReleases = new OSReleases(this.machines, this.workers)
    this.addresses = new Addresses(this.machines, this.network)
    this.mounts = new RootMounts({
      machines: this.machines,
      images: new ImageMounts(this.images),
      workers: this.workers,
      directory: new MountDirectory(instance.mountDirectory)
    })
    this.firewalls = new OtherFirewalls(firewalld)
    this.networks = new Networks({
      config: this.config.network,
      own: this.network,
      workers: this.workers,
      networkd,
      networkManager,
      firewalls: this.firewalls,
      files: { ofDefault: this.config.files, list: listNetworkFiles, read: readNetworkFile },
      configured: readMachineConfig,
      stateDirectory: NETWORK_STATE_DIRECTORY,
      runtimeDirectory: NETWORK_RUNTIME_DIRECTORY
    })
    this.machines.on('removed', (machine) => {
      this.operations.cancelOf(machine)
      void this.networks.detach(machine.name)
    })
  }

  /** Adds the host if it is ours, and what an earlier daemon tracked; a machine that cannot be read spoils no other. */
  async enumerate(): Promise<void> {
    if (this.instance.hasHost) this.machines.addHost(hostMachine())
    // All are in the registry before the first reply of PID 1 is awaited, and the questions to it go out together.
    await Promise.all(this.#state.list().map((name) => this.#restore(name)))
    void this.mounts.recover()
  }

  /** Gives a machine its network before it goes on. Ends its registration when it needs one and there is none. */
  async joinNetwork(machine: Machine): Promise<void> {
    try {
      await this.networks.attach(memberOf(machine))
    } catch (error) {
      this.machines.unregister(machine)
      throw error
    }
  }

  /** Makes networks what they are to be for the machines there are; those of the system only. */
  async recoverNetworks(): Promise<void> {
    if (!this.instance.hasHost) return
    await this.networks.reconcile(Array.from(this.machines.all(), memberOf)).catch((error: unknown) => {
      log.warn({ err: error }, 'Failed to recover the networks of machines')
    })
  }

  async #restore(name: string): Promise<void> {
    try {
      await this.machines.restore(this.#state.load(name))
    } catch (error) {
      log.warn({ NAME: name, err: error }, `Failed to load machine '${name}', ignoring`)
    }
  }
}

/** The host as machine `.host` (spec/dbus.md 1.3). */
function hostMachine(): Machine {
  const host = new Machine({
    name: '.host',
    class: 'host',
    owner: 0,
    id: Buffer.from(readFileSync('/etc/machine-id', 'utf8').trim(), 'hex'),
    service: '',
    rootDirectory: '/',
    networkInterfaces: [],
    vsockCid: NO_VSOCK_CID,
    sshAddress: '',
    sshPrivateKeyPath: '',
    leader: PidRef.pin(1),
    supervisor: undefined
  })
  host.unit = '-.slice'
  host.realtime = bootTime()
  host.started = true
  return host
}

/** Wall clock at boot, in microseconds. */
function bootTime(): bigint {
  const seconds = /^btime (\d+)$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[1]
  return BigInt(seconds ?? 0) * 1_000_000n
}

function memberOf({ name, class: kind, registration }: Machine): NetworkMember {
  const { owner, leader, networkInterfaces } = registration
  return { name, class: kind, owner, leader, interfaces: networkInterfaces }
}

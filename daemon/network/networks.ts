import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { explain, MachinedError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import type { Prefix } from '../base/prefix.ts'
import { Rollback } from '../base/rollback.ts'
import { ConflictWatch } from './conflict-watch.ts'
import type { FirewallState, Forward } from './firewall-state.ts'
import { Forwards } from './forwards.ts'
import { HostSocket } from './host-socket.ts'
import type { Lease } from './leases.ts'
import { LinkManagers, type NetworkdView } from './link-managers.ts'
import type { Attachment, Ends, Links } from './links.ts'
import type { NetworkMember } from './member.ts'
import { Network, type NetworkContext, type NetworkView } from './network.ts'
import type { NetworkManager } from './network-manager.ts'
import type { OtherFirewalls } from './other-firewalls.ts'
import { isPortOf } from './port.ts'
import { Rules } from './rules.ts'
import { Upkeep } from './upkeep.ts'

/** What networks are made with. */
export interface NetworksContext extends Omit<NetworkContext, 'host'> {
  readonly networkd: NetworkdView
  readonly networkManager: Pick<NetworkManager, 'leaveAlone'>
  readonly firewalls: OtherFirewalls
  /** The port forwards that are configured for a machine. */
  readonly configuredForwards: (machine: string) => readonly Forward[]
  /** Where the rules are kept that were applied last. */
  readonly runtimeDirectory: string
}

/** What there is, for people and programs to look at. */
export interface NetworkDescription extends NetworkView {
  readonly managed: boolean
  /** Whether systemd-networkd runs on the host. */
  readonly networkd: boolean
}

/** The networks of machines, and all that they share: rules, forwards, and what others on the host are told. */
export class Networks {
  readonly #context: NetworksContext
  readonly #host = new HostSocket()
  readonly #managers: LinkManagers
  readonly #network: Network
  readonly #upkeep: Upkeep
  readonly #rules: Rules
  #forwards: Forwards | undefined
  #conflicts: ConflictWatch | undefined
  /** Rules are for all machines, so they are made only when all are known that an earlier daemon left. */
  #complete = Promise.resolve()

  constructor(context: NetworksContext) {
    this.#context = context
    this.#managers = new LinkManagers(context.config.manage, context.networkd, context.networkManager)
    this.#network = new Network({ ...context, host: this.#host })
    this.#upkeep = new Upkeep((hasLost) => {
      if (hasLost) context.firewalls.renew()
      void this.#hold()
    })
    this.#rules = new Rules(context.runtimeDirectory, context.config, context.firewalls, this.#upkeep.lost)
  }

  /** The leases of all names that ever had a network, by name. */
  leases(): Lease[] {
    return this.#network.book.list()
  }

  /**
   * Gives a name addresses, at once where its machine runs; a family that is left out stays. Throws NotSupported where
   * networks are not ours to manage, and as Leases.fix does.
   */
  async setLease(name: string, addresses: Pick<Lease, 'ip4' | 'ip6'>): Promise<void> {
    if (!this.#managers.leaveLinksToUs) {
      throw new MachinedError('NotSupported', 'The network of machines is managed by others')
    }
    await this.#network.setLease(name, addresses)
    if (this.#links.attached.has(name)) await this.#update()
  }

  /** Takes a lease to the new name of an image, or drops it where the image is no more; not while its machine runs. */
  followImage(name: string, newName: string | undefined): void {
    if (this.#context.config.manage !== 'no') this.#network.moveLease(name, newName)
  }

  forwards(): readonly Forward[] {
    return this.#allForwards().all()
  }

  /**
   * Adds a forward, in effect when this returns. Throws FileExists, naming the machine that has the port, NotSupported
   * where firewalld forbids it.
   */
  async addForward(forward: Forward): Promise<void> {
    await this.#context.firewalls.requireForwards()
    this.#allForwards().add(forward)
    await this.#forwardsChanged(forward.machine)
  }

  /** Takes a forward away; connections through it go on. Throws FileNotFound. */
  async removeForward(machine: string, listen: string): Promise<void> {
    this.#allForwards().remove(machine, listen)
    await this.#forwardsChanged(machine)
  }

  /** What there is, for people and programs to look at. */
  describe(): NetworkDescription {
    const managed = this.#managers.leaveLinksToUs
    return { ...this.#network.describe(managed), managed, networkd: this.#managers.hasNetworkd }
  }

  /**
   * Gives a machine its network, if that is ours to do: done when this returns, so that the machine finds it when it
   * starts. Whatever fails is logged, and the machine goes without. Throws only with RequireNetwork=yes.
   */
  async attach(member: NetworkMember): Promise<void> {
    try {
      await this.#attach(member)
    } catch (error) {
      const failure = `Failed to set up the network of machine ${member.name}`
      log.warn({ NAME: member.name, err: error }, failure)
      if (this.#context.config.requireNetwork) throw explain(failure, error)
    }
  }

  /** Takes a machine's network away. What of it is in the machine goes with it. */
  async detach(name: string): Promise<void> {
    const attachment = this.#links.attached.get(name)
    if (attachment === undefined) return
    const hadForwards = this.#allForwards().of(name).length > 0
    this.#allForwards().release(name)
    try {
      this.#links.disconnect(attachment)
      if (this.#links.attached.size === 0) this.#linger()
      await this.#update()
      if (hadForwards) this.#rules.forget(name, attachment.lease)
    } catch (error) {
      log.warn({ NAME: name, err: error }, `Failed to take down the network of machine ${name}`)
    }
  }

  /**
   * Makes everything what it is to be for these machines, whatever an earlier daemon left or somebody else did: what
   * belongs to no machine is taken away (networking.md 7.11).
   */
  async reconcile(members: readonly NetworkMember[]): Promise<void> {
    const names = new Set(members.map(({ name }) => name))
    for (const name of this.#links.attached.keys()) if (!names.has(name)) await this.detach(name)
    await this.#attachTogether(members)
    if (this.#links.attached.size === 0) await this.takeDown()
    else await this.#hold()
  }

  /** Takes all down that belongs to no machine. Throws Failed while machines use the network. */
  async takeDown(): Promise<void> {
    if (this.#links.attached.size > 0) throw new MachinedError('Failed', 'Machines are using the network')
    this.#network.stay()
    this.#upkeep.end()
    this.#conflicts?.close()
    this.#conflicts = undefined
    await Promise.all([this.#rules.remove(), this.#tellManagers()])
    // A machine may have come meanwhile.
    if (this.#links.attached.size === 0) this.#links.remove()
  }

  get #links(): Links {
    return this.#network.links
  }

  async #attach(member: NetworkMember): Promise<void> {
    const ends = this.#find(member)
    if (ends === undefined) return
    const rollback = new Rollback()
    try {
      rollback.add(() => this.detach(member.name))
      const isNew = !this.#links.attached.has(member.name)
      const attachment = this.#links.admit(ends)
      if (isNew) this.#allForwards().configure(member.name, this.#context.configuredForwards(member.name))
      this.#network.stay()
      this.#upkeep.begin()
      this.#conflicts ??= this.#watchConflicts()
      await Promise.all([this.#update(), this.#connect(attachment)])
    } catch (error) {
      await rollback.undo()
      throw error
    }
  }

  async #connect(attachment: Attachment): Promise<void> {
    // Others see to the rules meanwhile, and they begin first.
    await setImmediate()
    if (this.#links.attached.get(attachment.name) !== attachment) return
    this.#links.connect(attachment)
    this.#tune(attachment)
    await this.#links.address(attachment)
  }

  async #attachTogether(members: readonly NetworkMember[]): Promise<void> {
    const attaching: Promise<void>[] = []
    let completed: () => void = () => undefined
    this.#complete = new Promise((resolve) => (completed = resolve))
    for (const member of members) {
      // It is logged, and the machine runs already.
      attaching.push(this.attach(member).catch(() => undefined))
      // Others are answered in between.
      await setImmediate()
    }
    completed()
    await Promise.all(attaching)
  }

  /** The link of a machine, if it has one and that is ours to manage. */
  #find(member: NetworkMember): Ends | undefined {
    const { config } = this.#context
    // Whoever else registers a machine could point to links that are not theirs.
    if (config.manage === 'no' || member.class !== 'container' || member.owner !== 0) return undefined
    const ends = this.#links.find(member)
    if (ends === undefined) return undefined
    // What was ours stays so: a networkd that was started since leaves it alone.
    const isOurs = this.#managers.leaveLinksToUs || isPortOf(ends.port, member.name)
    return isOurs && !this.#managers.isConfigured(ends.port.name) ? ends : undefined
  }

  #watchConflicts(): ConflictWatch {
    const { book } = this.#network
    const check = (): void => {
      this.#network.checkConflict()
    }
    const subnets = (): Prefix[] => {
      const { subnet4, subnet6 } = book.space(this.#host.requests)
      return [subnet4, subnet6].filter((subnet) => subnet !== undefined)
    }
    check()
    return new ConflictWatch({ subnets, check, lost: this.#upkeep.lost })
  }

  /** Makes everything what it was made, as far as it is on the host. */
  async #hold(): Promise<void> {
    try {
      this.#links.hold()
      if (this.#conflicts) this.#network.checkConflict()
      await this.#update()
      await this.#rules.repair()
    } catch (error) {
      log.warn({ err: error }, 'Failed to hold the network of machines')
    }
  }

  async #update(): Promise<void> {
    await this.#complete
    await Promise.all([this.#rules.apply(() => this.#firewallState()), this.#tellManagers()])
  }

  async #tellManagers(): Promise<void> {
    const ports = Array.from(this.#links.attached.values(), ({ port }) => port.name)
    await this.#managers.leaveAlone([this.#context.config.bridge], ports)
  }

  #firewallState(): Omit<FirewallState, 'kept'> {
    const leases = new Map(Array.from(this.#links.attached, ([name, { lease }]) => [name, lease]))
    return { ...this.#network.firewallState(), forwards: this.#allForwards().active(leases) }
  }

  #allForwards(): Forwards {
    return (this.#forwards ??= new Forwards(join(this.#context.runtimeDirectory, 'forwards.json')))
  }

  async #forwardsChanged(machine: string): Promise<void> {
    const attachment = this.#links.attached.get(machine)
    if (attachment === undefined) return
    this.#tune(attachment)
    await this.#update()
  }

  #tune(attachment: Attachment): void {
    this.#links.tune(attachment, this.#allForwards().of(attachment.name).length > 0)
  }

  #linger(): void {
    this.#network.linger(() => {
      this.takeDown().catch((error: unknown) => {
        log.warn({ err: error }, 'Failed to take down the network of machines')
      })
    })
  }
}

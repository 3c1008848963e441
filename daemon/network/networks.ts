import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { explain, MachinedError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { formatPrefix } from '../base/prefix.ts'
import { Rollback } from '../base/rollback.ts'
import { macText } from '../linux/link.ts'
import { AddressBook } from './address-book.ts'
import { ConflictWatch } from './conflict-watch.ts'
import type { FirewallState, Forward } from './firewall-state.ts'
import { Forwards } from './forwards.ts'
import type { Lease } from './leases.ts'
import { Links, type Attachment, type Ends, type LinksContext } from './links.ts'
import type { NetworkMember } from './member.ts'
import type { NetworkManager } from './network-manager.ts'
import type { Networkd } from './networkd.ts'
import type { OtherFirewalls } from './other-firewalls.ts'
import { isPortOf } from './port.ts'
import { Rules } from './rules.ts'

/** How long the bridge stays without machines, so that one that restarts finds it. */
const LINGER_MS = 5000
/** How often everything is made what it is to be, whatever was noticed (networking.md 7.11). */
const HOLD_MS = 30_000
/** How soon that is done after events were lost. Where many are lost, as with our own thousands of forwards, not each time. */
const LOST_MS = 500

/** What networks are made with. */
export interface NetworkContext extends LinksContext {
  readonly networkd: Pick<Networkd, 'runs' | 'leaveAlone' | 'isConfigured'>
  readonly networkManager: Pick<NetworkManager, 'leaveAlone'>
  readonly firewalls: OtherFirewalls
  /** The port forwards that are configured for a machine. */
  readonly configuredForwards: (machine: string) => readonly Forward[]
  /** Where leases and the chosen subnet are kept. */
  readonly stateDirectory: string
  /** Where the rules are kept that were applied last. */
  readonly runtimeDirectory: string
}

/** What there is, for people and programs to look at. */
export interface NetworkDescription {
  readonly bridge: string
  readonly managed: boolean
  /** Whether systemd-networkd runs on the host. */
  readonly networkd: boolean
  /** The subnets; undefined where they are not ours to choose. */
  readonly subnet4: string | undefined
  readonly subnet6: string | undefined
  /** What of others on this host one of the subnets overlaps; undefined for nothing. */
  readonly conflict: string | undefined
  /** The names of those that have a network from us. */
  readonly machines: readonly string[]
}

/** The network of machines: a bridge, an address for each name, rules for what goes through (networking.md 7). */
export class Networks {
  readonly #context: NetworkContext
  readonly #rules: Rules
  readonly #book: AddressBook
  readonly #links: Links
  #forwards: Forwards | undefined
  #conflicts: ConflictWatch | undefined
  /** Rules are for all machines, so they are made only when all are known that an earlier daemon left. */
  #complete = Promise.resolve()
  #lingering: NodeJS.Timeout | undefined
  #holding: NodeJS.Timeout | undefined
  #lost: NodeJS.Timeout | undefined
  #lostBefore = -Infinity

  constructor(context: NetworkContext) {
    this.#context = context
    this.#rules = new Rules(context.runtimeDirectory, context.config, context.firewalls, this.#holdSoon)
    this.#book = new AddressBook(context.config, context.stateDirectory)
    this.#links = new Links(context, this.#book)
  }

  /** The leases of all names that ever had a network, by name. */
  leases(): Lease[] {
    return this.#book.list()
  }

  /**
   * Gives a name addresses, at once where its machine runs; a family that is left out stays. Throws NotSupported where
   * networks are not ours to manage, and as Leases.fix does.
   */
  async setLease(name: string, addresses: Pick<Lease, 'ip4' | 'ip6'>): Promise<void> {
    if (!this.#isManaged()) throw new MachinedError('NotSupported', 'The network of machines is managed by others')
    const lease = await this.#book.fix(this.#links.socket, name, addresses)
    const attachment = this.#links.attached.get(name)
    if (attachment === undefined) return
    await this.#links.readdress(attachment, lease)
    await this.#update()
  }

  /** Takes a lease to the new name of an image, or drops it where the image is no more; not while its machine runs. */
  followImage(name: string, newName: string | undefined): void {
    const { attached } = this.#links
    if (this.#context.config.manage === 'no' || attached.has(name)) return
    if (newName === undefined) this.#book.drop(this.#links.socket, name)
    else if (!attached.has(newName)) this.#book.rename(this.#links.socket, name, newName)
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
    const { config, networkd } = this.#context
    const socket = this.#isManaged() ? this.#links.socket : undefined
    const { subnet4, subnet6 } = socket ? this.#book.space(socket) : {}
    const conflict = socket && this.#book.conflict(socket)
    return {
      bridge: config.bridge,
      managed: this.#isManaged(),
      networkd: networkd.runs,
      subnet4: subnet4 && formatPrefix(subnet4),
      subnet6: subnet6 && formatPrefix(subnet6),
      conflict: conflict && formatPrefix(conflict),
      machines: [...this.#links.attached.keys()]
    }
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
    clearTimeout(this.#lingering)
    clearInterval(this.#holding)
    clearTimeout(this.#lost)
    this.#holding = this.#lost = undefined
    this.#conflicts?.close()
    this.#conflicts = undefined
    await Promise.all([this.#rules.remove(), this.#tellManagers()])
    // A machine may have come meanwhile.
    if (this.#links.attached.size === 0) this.#links.remove()
  }

  #isManaged(): boolean {
    const { config, networkd } = this.#context
    return config.manage === 'yes' || (config.manage === 'auto' && !networkd.runs)
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
      clearTimeout(this.#lingering)
      this.#holding ??= setInterval(() => void this.#hold(), HOLD_MS).unref()
      this.#conflicts ??= new ConflictWatch(this.#book, this.#links.socket, this.#holdSoon)
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
    const { config, networkd } = this.#context
    // Whoever else registers a machine could point to links that are not theirs.
    if (config.manage === 'no' || member.class !== 'container' || member.owner !== 0) return undefined
    const ends = this.#links.find(member)
    if (ends === undefined) return undefined
    // What was ours stays so: a networkd that was started since leaves it alone.
    const isOurs = this.#isManaged() || isPortOf(ends.port, member.name)
    return isOurs && !networkd.isConfigured(ends.port.name) ? ends : undefined
  }

  /** Events were lost. At most one such look at the whole comes between two of those that come anyway. */
  readonly #holdSoon = (): void => {
    if (performance.now() - this.#lostBefore < HOLD_MS) return
    this.#lostBefore = performance.now()
    this.#lost = setTimeout(() => {
      this.#context.firewalls.renew()
      void this.#hold()
    }, LOST_MS).unref()
  }

  /** Makes everything what it was made, as far as it is on the host. */
  async #hold(): Promise<void> {
    try {
      this.#links.hold()
      this.#conflicts?.check()
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

  /** Tells others who manage links to keep their hands off ours. */
  async #tellManagers(): Promise<void> {
    const { config, networkd, networkManager } = this.#context
    const { attached } = this.#links
    const own = [...attached.values()].map(({ port }) => port.name)
    const ports = config.manage === 'yes' ? ['ve-*'] : own
    const others = own.filter((name) => !name.startsWith('ve-'))
    networkManager.leaveAlone(ports.length === 0 ? [] : [config.bridge, 've-*', ...others])
    await networkd.leaveAlone(ports.length === 0 ? [] : [config.bridge, ...ports])
  }

  #firewallState(): Omit<FirewallState, 'kept'> {
    const { config } = this.#context
    const ports = [...this.#links.attached.values()].map(({ port, guest, lease: { ip4, ip6 } }) => ({
      interfaceName: port.name,
      mac: macText(guest),
      ip4,
      ip6
    }))
    const leases = new Map(Array.from(this.#links.attached, ([name, { lease }]) => [name, lease]))
    const forwards = this.#allForwards().active(leases)
    return { bridge: config.bridge, ...this.#book.space(this.#links.socket), config, ports, forwards }
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
    clearTimeout(this.#lingering)
    this.#lingering = setTimeout(() => {
      if (this.#links.attached.size > 0) return
      this.takeDown().catch((error: unknown) => {
        log.warn({ err: error }, 'Failed to take down the network of machines')
      })
    }, LINGER_MS).unref()
  }
}

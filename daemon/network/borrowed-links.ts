import { log } from '../base/log.ts'
import type { BorrowedPlace } from './borrowed-machine.ts'
import type { BorrowedMachines } from './borrowed-machines.ts'
import { findGuestLink } from './guest.ts'
import { hasLinksToSee, type NetworkMember } from './member.ts'
import type { MemberLinks, MemberLinksContext } from './own-links.ts'
import { findPlace } from './port.ts'

/** The links of machines where systemd-networkd sees to all of them (Backend=networkd): only ports are forwarded. */
export class BorrowedLinks implements MemberLinks {
  readonly #context: MemberLinksContext & { readonly borrowed: BorrowedMachines }

  constructor(context: MemberLinksContext & { readonly borrowed: BorrowedMachines }) {
    this.#context = context
  }

  /** A machine gets its addresses only when it runs, so nobody waits for them. */
  async attach(member: NetworkMember): Promise<void> {
    const { borrowed, commons, forwards, configured } = this.#context
    const { name } = member
    try {
      const place = this.#find(member)
      if (place === undefined || borrowed.has(name)) return
      forwards().configure(name, configured(name).forwards)
      commons.begin()
      borrowed.add(place, () => void this.#look(name))
      await this.#look(name)
    } catch (error) {
      log.warn({ NAME: name, err: error }, `Failed to follow the addresses of machine ${name}`)
    }
  }

  async detach(name: string): Promise<void> {
    const { borrowed, commons, forwards } = this.#context
    const machine = borrowed.remove(name)
    if (machine === undefined) return
    const hadForwards = forwards().of(name).length > 0
    forwards().release(name)
    try {
      await (borrowed.names().length === 0 ? commons.takeDown() : commons.update())
      if (hadForwards) commons.forget(name, machine.lease)
    } catch (error) {
      log.warn({ NAME: name, err: error }, `Failed to end the forwards of machine ${name}`)
    }
  }

  names(): string[] {
    return this.#context.borrowed.names()
  }

  async forwardsChanged(name: string): Promise<void> {
    if (this.#context.borrowed.has(name)) await this.#context.commons.update()
  }

  #find(member: NetworkMember): BorrowedPlace | undefined {
    const { config, host, own } = this.#context
    if (config.manage === 'no' || !hasLinksToSee(member)) return undefined
    const { name, leader, interfaces } = member
    const place = findPlace(host.requests, name, interfaces, () => true)
    if (typeof place === 'string') return undefined
    const guest = findGuestLink(own, leader, place.port)
    return guest && { name, leader, guest, way: place.bridge ?? place.port }
  }

  async #look(name: string): Promise<void> {
    const { borrowed, commons } = this.#context
    try {
      if (borrowed.look(name)) await commons.update()
    } catch (error) {
      log.warn({ NAME: name, err: error }, `Failed to lead forwards to machine ${name}`)
    }
  }
}

import { offsetIn, type Prefix } from '../base/prefix.ts'
import { AddressWatch, openAddressSocket } from '../linux/address-watch.ts'
import type { Link } from '../linux/link.ts'
import type { NetworkNamespace } from '../linux/namespace.ts'
import type { RequestSocket } from '../linux/netlink-request.ts'
import type { PidRef } from '../linux/process.ts'
import { listAddressesOf } from '../linux/route.ts'
import { isUsable, readOwnAddresses, type InterfaceAddress } from '../linux/rtnetlink.ts'

const RT_SCOPE_UNIVERSE = 0
/** How long changes are gathered: whoever rules the machine can make any number. */
const GATHER_MS = 100

/** Where a machine is whose link others see to. */
export interface BorrowedPlace {
  readonly name: string
  readonly leader: PidRef
  /** The machine's end of its link. */
  readonly guest: Link
  /** What the host reaches it by: its own end, or the bridge which that is a port of. */
  readonly way: Link
}

/** A machine whose link others see to, and the addresses that it has from them. */
export class BorrowedMachine {
  readonly place: BorrowedPlace
  /** The networks that the host has at its end. */
  subnets: readonly Prefix[] = []
  /** What forwards lead to; the same object as long as both addresses are the same. */
  lease: { readonly ip4: Buffer | undefined; readonly ip6: Buffer | undefined } = { ip4: undefined, ip6: undefined }
  readonly #own: NetworkNamespace
  readonly #watch: AddressWatch | undefined
  #timer: NodeJS.Timeout | undefined

  /** `changed` is called some time after addresses have changed in there. */
  constructor(place: BorrowedPlace, own: NetworkNamespace, changed: () => void) {
    this.place = place
    this.#own = own
    const socket = own.inside(place.leader, openAddressSocket)
    const gather = (): void => {
      this.#timer ??= setTimeout(() => {
        this.#timer = undefined
        changed()
      }, GATHER_MS).unref()
    }
    this.#watch = socket === undefined ? undefined : new AddressWatch(socket, gather)
  }

  /** Finds out anew which addresses it has; whether they are other ones. Throws what the kernel says. */
  look(host: RequestSocket): boolean {
    const { way, guest } = this.place
    this.subnets = listAddressesOf(host, way)
    const inside = this.#own.inside(this.place.leader, readOwnAddresses) ?? []
    const usable = inside.filter((address) => isUsable(address) && isAt(guest, address))
    const [ip4, ip6] = [4, 16].map(
      (length) => usable.find(({ address }) => address.length === length && this.#isBehind(address))?.address
    )
    if (same(ip4, this.lease.ip4) && same(ip6, this.lease.ip6)) return false
    this.lease = { ip4, ip6 }
    return true
  }

  /** Lets go of the machine's network namespace. */
  close(): void {
    clearTimeout(this.#timer)
    this.#watch?.close()
  }

  /** A machine can take any address: only one that is at its link counts, and none that is the host's. */
  #isBehind(address: Buffer): boolean {
    return (
      this.subnets.some((subnet) => offsetIn(subnet, address) !== undefined) &&
      !this.subnets.some((subnet) => subnet.address.equals(address))
    )
  }
}

/** Whether it is one of the link's that the link's whole network can reach. */
function isAt(guest: Link, { scope, interfaceIndex }: InterfaceAddress): boolean {
  return interfaceIndex === guest.index && scope === RT_SCOPE_UNIVERSE
}

function same(one: Buffer | undefined, other: Buffer | undefined): boolean {
  return one === undefined ? other === undefined : other?.equals(one) === true
}

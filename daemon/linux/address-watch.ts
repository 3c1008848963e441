import { isSystemError } from '../base/errors.ts'
import { checked, closeFd, declare, receiveFrom, routeSocket } from './libc.ts'
import { Poll } from './poll.ts'

const bind = declare<(fd: number, address: Buffer, length: number) => number>('bind', 'int', [
  'int',
  'void *',
  'uint32_t'
])

const AF_NETLINK = 16
/** RTNLGRP_IPV4_IFADDR and RTNLGRP_IPV6_IFADDR as bits of nl_groups (rtnetlink(7)). */
const ADDRESS_GROUPS = 0x110
const SIZE = 4096

/**
 * Says when addresses change in a network namespace: that which the thread is in when `openAddressSocket` is called. What
 * the kernel sends is not looked at, so a message that was lost does no harm: whoever listens reads the addresses anew.
 */
export class AddressWatch {
  readonly #poll: Poll

  /** Takes over the socket. */
  constructor(socket: number, changed: () => void) {
    this.#poll = new Poll(
      socket,
      () => {
        drain(socket)
        changed()
      },
      { ownsFd: true }
    )
    this.#poll.start({ readable: true })
  }

  close(): void {
    this.#poll.close()
  }
}

/** A socket that hears of addresses in the calling thread's network namespace. Throws SystemError. */
export function openAddressSocket(): number {
  const fd = routeSocket()
  const address = Buffer.alloc(12)
  address.writeUInt16LE(AF_NETLINK)
  address.writeUInt32LE(ADDRESS_GROUPS, 8)
  try {
    checked(bind(fd, address, address.length), 'bind')
    return fd
  } catch (error) {
    closeFd(fd)
    throw error
  }
}

function drain(socket: number): void {
  const [data, sender] = [Buffer.alloc(SIZE), Buffer.alloc(12)]
  for (;;) {
    try {
      if (receiveFrom(socket, data, 0, sender) === undefined) return
    } catch (error) {
      // Messages were lost for want of room, which is as good as a message.
      if (!isSystemError(error) || error.code !== 'ENOBUFS') throw error
    }
  }
}

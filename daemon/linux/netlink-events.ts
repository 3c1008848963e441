import { readdirSync } from 'node:fs'
import { log } from '../base/log.ts'
import { declare } from './libc.ts'
import { netlinkPackage, type PackageSocket } from './netlink-package.ts'
import { setSocketOption } from './netlink-request.ts'

const AF_NETLINK = 16
const SOL_SOCKET = 1
const SOL_NETLINK = 270
const SO_RCVBUFFORCE = 33
const NETLINK_NO_ENOBUFS = 5
const RECEIVE_BUFFER = 8 * 1024 * 1024

const c = {
  getsockname: declare<(fd: number, address: Buffer, length: Buffer) => number>('getsockname', 'int', [
    'int',
    'void *',
    'void *'
  ])
}

/** One event of the kernel. */
export interface KernelEvent {
  readonly type: number
  /** Of the socket that has asked for what has happened, in its network namespace. */
  readonly port: number
  /** What follows the header. */
  readonly body: Buffer
}

/**
 * Multicast groups of a netlink(7) protocol, in the network namespace that the thread is in when this is made. Uses the
 * socket of the package `netlink`, which ends the process when the kernel reports an overrun (networking.md 5.3), so that
 * report is switched off before any group is joined; events can be lost then, and whoever listens has to look at the
 * whole from time to time.
 */
export class KernelEvents {
  readonly #socket: PackageSocket

  /** `deliver` gets the events of one datagram at a time. Throws when the socket cannot be made safe. */
  constructor(protocol: number, groups: readonly number[], deliver: (events: readonly KernelEvent[]) => void) {
    this.#socket = netlinkPackage().createNetlink(protocol)
    try {
      const fd = descriptorOf(this.#socket)
      setSocketOption(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
      setSocketOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
      this.#socket.on('error', (error) => {
        log.warn({ err: error }, 'A socket for events of the kernel failed')
      })
      this.#socket.on('message', (messages) => {
        // An exception that reaches the package's native code ends the process without a word.
        try {
          deliver(messages.map(({ type, port, data }) => ({ type, port, body: data })))
        } catch (error) {
          log.error({ err: error }, 'Failed to handle an event of the kernel')
        }
      })
      for (const group of groups) this.#socket.addMembership(group)
    } catch (error) {
      this.close()
      throw error
    }
  }

  close(): void {
    this.#socket.close()
  }
}

/** The package does not tell the descriptor of its socket, but the port that it is bound to, which no other socket has. */
function descriptorOf(socket: PackageSocket): number {
  const { port } = socket.address()
  const found = readdirSync('/proc/self/fd').find((name) => isBoundTo(Number(name), port))
  if (found === undefined) throw new Error('The descriptor of a netlink socket cannot be found')
  return Number(found)
}

function isBoundTo(fd: number, port: number): boolean {
  const address = Buffer.alloc(12)
  const length = Buffer.from([12, 0, 0, 0])
  return (
    c.getsockname(fd, address, length) === 0 &&
    address.readUInt16LE() === AF_NETLINK &&
    address.readUInt32LE(4) === port
  )
}

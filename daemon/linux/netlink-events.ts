import { readdirSync } from 'node:fs'
import { ifPossible } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { declare, getSocketOption } from './libc.ts'
import { netlinkPackage, type PackageSocket } from './netlink-package.ts'
import { setSocketOption } from './netlink-request.ts'

const AF_NETLINK = 16
const SOL_SOCKET = 1
const SOL_NETLINK = 270
const SO_RCVBUFFORCE = 33
const SO_MEMINFO = 55
/** SK_MEMINFO_VARS of 32 bits, of which SK_MEMINFO_DROPS is the last. */
const MEMINFO_LENGTH = 36
const DROPS_OFFSET = 32
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

/** Who listens to events. */
export interface EventListener {
  /** Gets the events of one datagram at a time. */
  readonly deliver: (events: readonly KernelEvent[]) => void
  /** Called when some were lost, for want of room: only a look at the whole shows what they were about. */
  readonly lost: () => void
}

/**
 * Multicast groups of a netlink(7) protocol, in the network namespace that the thread is in when this is made. Uses the
 * socket of the package `netlink`, which ends the process when the kernel reports an overrun (networking.md 5.3), so that
 * report is switched off before any group is joined, and the kernel is asked instead how many it has dropped.
 */
export class KernelEvents {
  readonly #socket: PackageSocket
  readonly #listener: EventListener
  #drops = 0

  /** Throws when the socket cannot be made safe. */
  constructor(protocol: number, groups: readonly number[], listener: EventListener) {
    this.#listener = listener
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
          listener.deliver(messages.map(({ type, port, data }) => ({ type, port, body: data })))
          this.#countDrops(fd)
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

  /** Where one is dropped, the socket is full, so others are read after it. */
  #countDrops(fd: number): void {
    const drops = dropsOf(fd)
    if (drops === this.#drops) return
    this.#drops = drops
    this.#listener.lost()
  }
}

function dropsOf(fd: number): number {
  const info = Buffer.alloc(MEMINFO_LENGTH)
  return ifPossible(() => getSocketOption(fd, SO_MEMINFO, info)) === undefined ? 0 : info.readUInt32LE(DROPS_OFFSET)
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

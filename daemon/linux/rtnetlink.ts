import { constants as os } from 'node:os'
import { systemError } from '../base/errors.ts'
import { closeFd, connectSocket, receiveFrom, routeSocket, send } from './libc.ts'

const AF_NETLINK = 16
const HEADER_LENGTH = 16
const IFADDRMSG_LENGTH = 8

const NLMSG_ERROR = 2
const NLMSG_DONE = 3
const NLMSG_OVERRUN = 4
const NLM_F_REQUEST = 0x1
const NLM_F_DUMP_INTR = 0x10
const NLM_F_DUMP = 0x300
const RTM_NEWADDR = 20
const RTM_GETADDR = 22
const IFA_ADDRESS = 1
const IFA_LOCAL = 2
const IFA_FLAGS = 8
const IFA_F_DEPRECATED = 0x20
const IFA_F_TENTATIVE = 0x40

const MSG_PEEK = 0x2
const MSG_TRUNC = 0x20
/** A dump that is interrupted by changes again and again is given up. */
const ATTEMPTS = 10
/** Whoever rules the namespace can fill it with objects, and we are held up as long as we read them. */
export const MOST_MESSAGES = 16_384

/** One answer to a request: its type and what follows the header. */
export interface RouteMessage {
  readonly type: number
  readonly body: Buffer
}

/** An address of an interface (rtnetlink(7), RTM_NEWADDR). */
export interface InterfaceAddress {
  readonly family: 'ipv4' | 'ipv6'
  /** IFA_F_* bits. */
  readonly flags: number
  /** RT_SCOPE_*: 0 global, 200 site, 253 link, 254 host, 255 nowhere. */
  readonly scope: number
  readonly interfaceIndex: number
  /** In network order, 4 or 16 bytes. */
  readonly address: Buffer
}

/** An rtnetlink socket of the calling thread's network namespace, for the caller to close. */
export function openRouteSocket(): number {
  const fd = routeSocket()
  // The kernel's own address is all zero. Connected, the socket takes messages of nobody else.
  const kernel = Buffer.alloc(12)
  kernel.writeUInt16LE(AF_NETLINK)
  try {
    connectSocket(fd, kernel, 'rtnetlink')
    return fd
  } catch (error) {
    closeFd(fd)
    throw error
  }
}

/** All IPv4 and IPv6 addresses of the socket's network namespace, in the kernel's order. Throws as `dump` does. */
export function readAddresses(socket: number): InterfaceAddress[] {
  const request = Buffer.alloc(IFADDRMSG_LENGTH)
  const found: InterfaceAddress[] = []
  for (const message of dump(socket, RTM_GETADDR, request)) {
    const address = message.type === RTM_NEWADDR ? parseAddress(message.body) : undefined
    if (address !== undefined) found.push(address)
  }
  return found
}

/** The same of the calling thread's network namespace. Throws what the kernel says. */
export function readOwnAddresses(): InterfaceAddress[] {
  const socket = openRouteSocket()
  try {
    return readAddresses(socket)
  } finally {
    closeFd(socket)
  }
}

/** Whether new connections may use an address: it is neither on its way out nor still to be found free. */
export function isUsable({ flags }: InterfaceAddress): boolean {
  return (flags & (IFA_F_DEPRECATED | IFA_F_TENTATIVE)) === 0
}

/**
 * Sends a request for all objects of a kind and gives the answers. Never waits: the kernel answers while we send and
 * receive. Throws the kernel's error, EBADMSG for an answer that makes no sense, EINTR when the objects never stop
 * changing, ENOBUFS when there are more than `most`: the socket is of no use then, as the rest is still to come.
 */
export function dump(socket: number, type: number, body: Buffer, most = MOST_MESSAGES): RouteMessage[] {
  for (let sequence = 1; sequence <= ATTEMPTS; sequence++) {
    send(socket, formatRequest(type, sequence, body))
    const messages = receiveDump(socket, sequence, most)
    if (messages !== undefined) return messages
  }
  throw systemError(os.errno.EINTR, 'netlink')
}

function formatRequest(type: number, sequence: number, body: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_LENGTH)
  header.writeUInt32LE(HEADER_LENGTH + body.length, 0)
  header.writeUInt16LE(type, 4)
  header.writeUInt16LE(NLM_F_REQUEST | NLM_F_DUMP, 6)
  header.writeUInt32LE(sequence, 8)
  return Buffer.concat([header, body])
}

/** Undefined when the objects changed meanwhile, so that some may be missing or twice. */
function receiveDump(socket: number, sequence: number, most: number): RouteMessage[] | undefined {
  const messages: RouteMessage[] = []
  let interrupted = false
  for (;;) {
    const datagram = receive(socket)
    for (const message of parseMessages(datagram)) {
      if (message.sequence !== sequence) continue
      interrupted ||= (message.flags & NLM_F_DUMP_INTR) !== 0
      if (isLast(message)) return interrupted ? undefined : messages
      messages.push(message)
    }
    if (messages.length > most) throw systemError(os.errno.ENOBUFS, 'netlink')
  }
}

/** Throws the error that a message tells of. */
function isLast({ type, body }: RouteMessage): boolean {
  if (type === NLMSG_OVERRUN) throw systemError(os.errno.ENOBUFS, 'netlink')
  if (type !== NLMSG_ERROR && type !== NLMSG_DONE) return false
  if (body.length < 4) {
    if (type === NLMSG_DONE) return true
    throw badMessage()
  }
  const result = body.readInt32LE()
  if (result < 0) throw systemError(-result, 'netlink')
  return true
}

/** The next datagram that the kernel has sent, whole. Throws ENODATA when there is none. */
export function receive(socket: number): Buffer {
  const sender = Buffer.alloc(12)
  for (;;) {
    const size = receiveFrom(socket, Buffer.alloc(0), MSG_PEEK | MSG_TRUNC, sender)
    // The whole answer is there, or the kernel would have told of an error.
    if (size === undefined) throw systemError(os.errno.ENODATA, 'recvfrom')
    const datagram = Buffer.allocUnsafe(size)
    const length = receiveFrom(socket, datagram, MSG_TRUNC, sender)
    if (length !== size) throw badMessage()
    // Port 0 is the kernel. Anyone may have sent something before the socket was connected.
    if (sender.readUInt32LE(4) === 0) return datagram
  }
}

/** Cuts a datagram into messages. Throws EBADMSG unless they fill it. */
export function* parseMessages(
  datagram: Buffer
): Generator<RouteMessage & { readonly flags: number; readonly sequence: number }> {
  for (const { start, end } of pieces(datagram, HEADER_LENGTH, (at) => datagram.readUInt32LE(at))) {
    yield {
      type: datagram.readUInt16LE(start + 4),
      flags: datagram.readUInt16LE(start + 6),
      sequence: datagram.readUInt32LE(start + 8),
      body: datagram.subarray(start + HEADER_LENGTH, end)
    }
  }
}

/** The attributes that follow the fixed part of a message, by type; of equal ones the last. Throws EBADMSG. */
export function parseAttributes(data: Buffer): Map<number, Buffer> {
  const attributes = new Map<number, Buffer>()
  for (const { start, end } of pieces(data, 4, (at) => data.readUInt16LE(at))) {
    // The two high bits are NLA_F_NESTED and NLA_F_NET_BYTEORDER.
    attributes.set(data.readUInt16LE(start + 2) & 0x3fff, data.subarray(start + 4, end))
  }
  return attributes
}

/** An attribute as parseAttributes reads it. */
export function formatAttribute(type: number, value: Buffer): Buffer {
  const padded = Buffer.alloc(4 + ((value.length + 3) & ~3))
  padded.writeUInt16LE(4 + value.length, 0)
  padded.writeUInt16LE(type, 2)
  value.copy(padded, 4)
  return padded
}

/** Messages and attributes are alike: each begins with its length, and the next follows at a multiple of four. */
function* pieces(data: Buffer, header: number, lengthAt: (start: number) => number): Generator<Piece> {
  for (let start = 0; start < data.length;) {
    if (data.length - start < header) throw badMessage()
    const length = lengthAt(start)
    if (length < header || length > data.length - start) throw badMessage()
    yield { start, end: start + length }
    start += (length + 3) & ~3
  }
}

interface Piece {
  readonly start: number
  readonly end: number
}

/** Reads the body of RTM_NEWADDR; undefined for families other than IPv4 and IPv6. Throws EBADMSG. */
export function parseAddress(body: Buffer): InterfaceAddress | undefined {
  if (body.length < IFADDRMSG_LENGTH) throw badMessage()
  const family = families.get(body.readUInt8(0))
  if (family === undefined) return undefined
  const attributes = parseAttributes(body.subarray(IFADDRMSG_LENGTH))
  // On a point-to-point link IFA_ADDRESS is the other end.
  const address = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS)
  const flags = attributes.get(IFA_FLAGS)
  if (address?.length !== family.length || (flags !== undefined && flags.length !== 4)) throw badMessage()
  return {
    family: family.name,
    // The header has room for the first eight flags only.
    flags: flags?.readUInt32LE() ?? body.readUInt8(2),
    scope: body.readUInt8(3),
    interfaceIndex: body.readUInt32LE(4),
    address
  }
}

const families: ReadonlyMap<number, { readonly name: InterfaceAddress['family']; readonly length: number }> = new Map([
  [2, { name: 'ipv4', length: 4 }],
  [10, { name: 'ipv6', length: 16 }]
])

function badMessage(): Error {
  return systemError(os.errno.EBADMSG, 'netlink')
}

import { systemError } from '../base/errors.ts'
import { addressOf, closeFd, connectSocket, getSocketOption, recvmsg, send, sendmsg, unixSocket } from './libc.ts'

/** Most descriptors one message can carry (the kernel's SCM_MAX_FD). */
export const maxFdsPerMessage = 253

/** sockaddr_un of a path, or of an abstract name when it starts with `@`. Throws ENAMETOOLONG. */
export function socketAddress(path: string): Buffer {
  const name = Buffer.from(path)
  if (name.length === 0 || name.length > 107) throw systemError(36, 'connect', path)
  const abstract = name[0] === 0x40
  if (abstract) name[0] = 0
  const address = Buffer.alloc(2 + name.length + (abstract ? 0 : 1))
  address.writeUInt16LE(1)
  name.copy(address, 2)
  return address
}

function connectedSocket(kind: 'stream' | 'datagram', path: string): number {
  const fd = unixSocket(kind)
  try {
    connectSocket(fd, socketAddress(path), path)
    return fd
  } catch (error) {
    closeFd(fd)
    throw error
  }
}

/**
 * Connects a stream socket, non-blocking and close-on-exec, to a path or (`@name`) an abstract name.
 * Throws SystemError; EAGAIN when the listener's queue is full, for a Unix socket never waits for its connect.
 */
export function connectUnix(path: string): number {
  return connectedSocket('stream', path)
}

// struct msghdr, struct iovec and struct cmsghdr of 64-bit Linux.
const headerSize = 56
const iovecSize = 16
const cmsgHeaderSize = 16

/** What a header points to, by addresses alone, lives as long as the header. */
const pointees = new WeakMap<Buffer, readonly Buffer[]>()

/** struct msghdr over a control buffer and one struct iovec for the data. */
function messageHeader(data: Buffer, control: Buffer): Buffer {
  const iovec = Buffer.alloc(iovecSize)
  iovec.writeBigUInt64LE(addressOf(data))
  iovec.writeBigUInt64LE(BigInt(data.length), 8)
  const header = Buffer.alloc(headerSize)
  header.writeBigUInt64LE(addressOf(iovec), 16)
  header.writeBigUInt64LE(1n, 24)
  header.writeBigUInt64LE(addressOf(control), 32)
  header.writeBigUInt64LE(BigInt(control.length), 40)
  pointees.set(header, [iovec, data, control])
  return header
}

/** The control message SCM_RIGHTS that carries these descriptors (unix(7)). */
function rightsMessage(fds: readonly number[]): Buffer {
  const control = Buffer.alloc(cmsgHeaderSize + ((fds.length * 4 + 7) & ~7))
  control.writeUInt32LE(cmsgHeaderSize + fds.length * 4) // size_t; the upper half stays 0
  control.writeInt32LE(1, 8) // SOL_SOCKET
  control.writeInt32LE(1, 12) // SCM_RIGHTS
  fds.forEach((fd, index) => control.writeInt32LE(fd, cmsgHeaderSize + index * 4))
  return control
}

/**
 * Sends data and descriptors, which stay ours, in one go. Gives the number of bytes taken, which may be a part, or undefined
 * when the socket is full. Throws SystemError.
 */
export function sendMessage(fd: number, data: Buffer, fds: readonly number[] = []): number | undefined {
  return fds.length === 0 ? send(fd, data) : sendmsg(fd, messageHeader(data, rightsMessage(fds)))
}

/** What one receive gave: 0 bytes is the end of the stream. The descriptors belong to the caller. */
export interface Received {
  bytes: number
  fds: number[]
}

/** Reads one stream again and again into the same buffer, so that all the structures are built once. */
export class MessageReceiver {
  readonly buffer: Buffer
  readonly #control = Buffer.alloc(cmsgHeaderSize + ((maxFdsPerMessage * 4 + 7) & ~7))
  readonly #header: Buffer

  constructor(size: number) {
    // Not from Node's pool: the kernel writes here.
    this.buffer = Buffer.allocUnsafeSlow(size)
    this.#header = messageHeader(this.buffer, this.#control)
  }

  /**
   * recvmsg(2) into `buffer`; undefined when there is nothing to read now. Received descriptors are close-on-exec.
   * Throws SystemError; EMSGSIZE when the kernel dropped descriptors (we are at our limit of open files): what did
   * arrive is closed, for a message short of descriptors cannot be understood.
   */
  receive(fd: number): Received | undefined {
    const header = this.#header
    header.writeUInt32LE(this.#control.length, 40)
    const bytes = recvmsg(fd, header)
    if (bytes === undefined) return undefined
    const length = header.readUInt32LE(40)
    const fds = length === 0 ? [] : receivedFds(this.#control.subarray(0, length))
    if ((header.readInt32LE(48) & 8) !== 0) {
      // MSG_CTRUNC
      fds.forEach(closeFd)
      throw systemError(90, 'recvmsg')
    }
    return { bytes, fds }
  }
}

/** The descriptors in all SCM_RIGHTS of a control buffer. */
function receivedFds(control: Buffer): number[] {
  const fds: number[] = []
  for (let offset = 0; offset + cmsgHeaderSize <= control.length;) {
    const length = control.readUInt32LE(offset)
    if (length < cmsgHeaderSize) break
    if (control.readInt32LE(offset + 8) === 1 && control.readInt32LE(offset + 12) === 1) {
      const end = Math.min(offset + length, control.length)
      for (let at = offset + cmsgHeaderSize; at + 4 <= end; at += 4) fds.push(control.readInt32LE(at))
    }
    offset += (length + 7) & ~7
  }
  return fds
}

/** One receive into a buffer of the caller's; see MessageReceiver.receive. For a long-lived stream use that. */
export function receiveMessage(fd: number, buffer: Buffer): Received | undefined {
  const receiver = new MessageReceiver(buffer.length)
  const received = receiver.receive(fd)
  if (received !== undefined) receiver.buffer.copy(buffer, 0, 0, received.bytes)
  return received
}

/** A datagram socket connected to a path or (`@name`) an abstract name, non-blocking and close-on-exec. Throws SystemError. */
export function connectDatagram(path: string): number {
  return connectedSocket('datagram', path)
}

/** Sends one datagram to a path or (`@name`) an abstract name. Throws SystemError, EAGAIN when the receiver's queue is full. */
export function sendDatagram(path: string, data: Buffer, fds: readonly number[] = []): void {
  const fd = connectedSocket('datagram', path)
  try {
    // A datagram of descriptors alone has one empty buffer.
    if (sendMessage(fd, data, fds) === undefined) throw systemError(11, 'sendmsg', path)
  } finally {
    closeFd(fd)
  }
}

/** Who connected a Unix socket, as the kernel saw it then (SO_PEERCRED). The pid may be gone or reused since. */
export function peerCredentials(fd: number): { pid: number; uid: number; gid: number } {
  const value = Buffer.alloc(12)
  getSocketOption(fd, 17, value)
  return { pid: value.readInt32LE(0), uid: value.readUInt32LE(4), gid: value.readUInt32LE(8) }
}

import { close as closeFile } from 'node:fs'
import { constants as os } from 'node:os'
import { ExplainedError, systemError } from '../base/errors.ts'
import { checked, closeFd, connectSocket, declare, send } from './libc.ts'
import { dump, parseAttributes, parseMessages, receive, type RouteMessage } from './rtnetlink.ts'

const AF_NETLINK = 16
const SOCK_RAW = 3
const SOCK_FLAGS = 0x80800
export const NETLINK_ROUTE = 0
export const NETLINK_NETFILTER = 12

const SOL_NETLINK = 270
const NETLINK_CAP_ACK = 10
const NETLINK_EXT_ACK = 11
const NETLINK_GET_STRICT_CHK = 12

const NLMSG_ERROR = 2
const NLM_F_REQUEST = 0x1
const NLM_F_ACK = 0x4
const NLM_F_ACK_TLVS = 0x200
/** Flags of requests that make something (netlink(7)). */
export const NLM_F_REPLACE = 0x100
export const NLM_F_EXCL = 0x200
export const NLM_F_CREATE = 0x400

const HEADER_LENGTH = 16
const NLMSGERR_ATTR_MSG = 1

const c = {
  socket: declare<(domain: number, type: number, protocol: number) => number>('socket', 'int', ['int', 'int', 'int']),
  setsockopt: declare<(fd: number, level: number, name: number, value: Buffer, length: number) => number>(
    'setsockopt',
    'int',
    ['int', 'int', 'int', 'void *', 'uint32_t']
  )
}

/** setsockopt(2) with an integer, at a level of netlink(7) or of sockets. */
export function setSocketOption(fd: number, level: number, name: number, value: number): void {
  const buffer = Buffer.alloc(4)
  buffer.writeInt32LE(value)
  checked(c.setsockopt(fd, level, name, buffer, 4), 'setsockopt')
}

/**
 * A netlink(7) socket for requests to the kernel, in the network namespace that the thread is in when it is made. It
 * answers while we send, so nothing here waits. One request at a time, no events.
 */
export class RequestSocket {
  readonly #fd: number
  readonly #most: number
  #sequence = 0

  /** `most` is how many objects of a kind are read: all of the host, but not of a machine, whose root can make any number. */
  constructor(protocol = NETLINK_ROUTE, most = Infinity) {
    this.#most = most
    this.#fd = checked(c.socket(AF_NETLINK, SOCK_RAW | SOCK_FLAGS, protocol), 'socket')
    try {
      // Connected to the kernel, whose address is all zero, the socket takes messages of nobody else.
      const kernel = Buffer.alloc(12)
      kernel.writeUInt16LE(AF_NETLINK)
      connectSocket(this.#fd, kernel, 'netlink')
      for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK]) {
        setSocketOption(this.#fd, SOL_NETLINK, option, 1)
      }
    } catch (error) {
      this.close()
      throw error
    }
  }

  /**
   * Asks for one thing, and gives the answers that came before the acknowledgement. Throws an ExplainedError with the
   * kernel's code, whose text begins with `what` and has the kernel's own words, if it said any.
   */
  request(what: string, type: number, flags: number, body: Buffer): RouteMessage[] {
    const sequence = (this.#sequence = (this.#sequence + 1) >>> 0)
    const header = Buffer.alloc(HEADER_LENGTH)
    header.writeUInt32LE(HEADER_LENGTH + body.length, 0)
    header.writeUInt16LE(type, 4)
    header.writeUInt16LE(NLM_F_REQUEST | NLM_F_ACK | flags, 6)
    header.writeUInt32LE(sequence, 8)
    return this.exchange(what, Buffer.concat([header, body]), sequence)
  }

  /** Sends ready messages and reads until the one with that number is acknowledged. Throws as `request` does. */
  exchange(what: string, messages: Buffer, sequence: number): RouteMessage[] {
    send(this.#fd, messages)
    const answers: RouteMessage[] = []
    for (;;) {
      for (const message of parseMessages(receive(this.#fd))) {
        if (message.type === NLMSG_ERROR) refuse(what, message)
        if (message.sequence !== sequence) continue
        if (message.type === NLMSG_ERROR) return answers
        answers.push(message)
      }
    }
  }

  /** All objects of a kind, or of those the body asks for. Throws as `dump` of rtnetlink.ts does, explained by `what`. */
  dump(what: string, type: number, body: Buffer): RouteMessage[] {
    try {
      return dump(this.#fd, type, body, this.#most)
    } catch (error) {
      const { code, syscall } = error as { code: string; syscall: string }
      throw new ExplainedError(what, { code, syscall })
    }
  }

  close(): void {
    closeFd(this.#fd)
  }

  /** As `close`, but waits for nothing: whoever closes a socket for netfilter waits till the kernel is rid of old rules. */
  closeByThread(): void {
    closeFile(this.#fd, () => undefined)
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** Throws what an NLMSG_ERROR tells of; an acknowledgement is one without error. */
function refuse(what: string, { body, flags }: RouteMessage & { readonly flags: number }): void {
  if (body.length < 4) throw systemError(os.errno.EBADMSG, 'netlink')
  const errno = -body.readInt32LE()
  if (errno === 0) return
  const cause = systemError(errno, 'netlink')
  const said = (flags & NLM_F_ACK_TLVS) === 0 ? undefined : kernelText(body)
  throw new ExplainedError(said === undefined ? what : `${what} (${said})`, cause)
}

/** The extended acknowledgement's text: attributes follow the header of the request. */
function kernelText(body: Buffer): string | undefined {
  const text = parseAttributes(body.subarray(4 + HEADER_LENGTH)).get(NLMSGERR_ATTR_MSG)
  return text?.toString('utf8').replace(/\0+$/, '')
}

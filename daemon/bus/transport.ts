import { setTimeout as sleep } from 'node:timers/promises'
import { isSystemError } from '../base/errors.ts'
import { closeFd } from '../linux/libc.ts'
import { Poll, type PollEvents } from '../linux/poll.ts'
import { MessageReceiver, connectUnix, sendMessage } from '../linux/unix-socket.ts'
import {
  encodeMessage,
  maxMessageLength,
  MessageParser,
  MessageQueue,
  ProtocolError,
  type BusMessage
} from './message.ts'

/**
 * With this many bytes unsent we read no more until they are gone: calls whose answers nobody fetches wait at the bus and
 * not in our memory. What was read before may still add to them.
 */
const maxUnsentBytes = 4 * 1024 * 1024
/** Signals come from us and not from reading. With this many bytes unsent the peer is dead: two of the largest messages. */
const maxQueuedBytes = 2 * maxMessageLength
/** What is received at once; and replies of about this size leave before the turn of the loop is over. */
const batchBytes = 64 * 1024
/** Signals that come this soon after what left last wait for others, in ms: bus and listeners wake up for all of them once. */
const gatherMs = 4
const signal: BusMessage['type'] = 4
/** A busy peer must not keep the loop from everybody else: so many reads of one buffer each per wake-up. */
const readsPerWakeUp = 8
/** A line of the authentication dialogue is never longer than this. */
const maxAuthLine = 4096

/** The socket paths in a bus address, `@name` for abstract ones (D-Bus specification, "Server Addresses"). */
export function socketPaths(address: string): string[] {
  return address.split(';').flatMap((entry) => {
    const [kind, rest] = entry.split(/:(.*)/s)
    if (kind !== 'unix' || rest === undefined) return []
    const values = new Map(rest.split(',').map((pair) => pair.split(/=(.*)/s, 2) as [string, string]))
    const path = values.get('path')
    const abstract = values.get('abstract')
    if (path !== undefined) return [decodeURIComponent(path)]
    return abstract === undefined ? [] : [`@${decodeURIComponent(abstract)}`]
  })
}

/** Connects to the first address that answers. Throws SystemError of the last one, TypeError when there is none we know. */
export async function connectBusSocket(address: string): Promise<number> {
  let failure: unknown = new TypeError(`No usable bus address: ${address}`)
  for (const path of socketPaths(address)) {
    for (let attempt = 0; attempt < 100; attempt++) {
      try {
        return connectUnix(path)
      } catch (error) {
        failure = error
        // EAGAIN: the broker has not accepted those before us yet.
        if (!isSystemError(error) || error.code !== 'EAGAIN') break
        await sleep(10)
      }
    }
  }
  throw failure
}

export interface TransportOptions {
  /** Who to authenticate as, in the numbers of the peer, which checks it against the socket's credentials. */
  uid?: number
  /** The longest message to accept, in bytes; a longer one ends the transport. */
  maxLength?: number
  /** The most bytes to accept in all. */
  maxReceived?: number
  /** Whether a peer that passes no descriptors will not do. */
  needsFds?: boolean
}

/**
 * A socket to a message bus: authenticates, then carries whole messages both ways. Never throws out of an event: what
 * goes wrong closes the transport and is told to onClose, once.
 */
export class Transport {
  /** Called with each message; its descriptors belong to the receiver from then on. */
  onMessage: (message: BusMessage) => void = () => undefined
  /** Called once when the transport ended without close(): with the reason, or undefined at the peer's end of stream. */
  onClose: (error?: Error) => void = () => undefined
  readonly #fd: number
  readonly #poll: Poll
  readonly #receiver = new MessageReceiver(batchBytes)
  readonly #parser: MessageParser
  /** What the bus has answered so far; undefined once that is complete. */
  #authentication: string | undefined = ''
  #canPassFds = false
  readonly #needsFds: boolean
  /** How many more bytes to accept. */
  #allowance: number
  readonly #queue = new MessageQueue()
  #reading = false
  #flushScheduled = false
  #gathering = false
  /** When something left last, in ms. */
  #lastSent = -Infinity
  #blocked = false
  #closed = false
  #flushed: (() => void)[] = []

  /** Takes over a connected socket and authenticates, as the daemon's own user unless told. */
  constructor(fd: number, options: TransportOptions = {}) {
    const { uid = process.geteuid?.() ?? 0, maxReceived = Infinity, needsFds = false } = options
    this.#fd = fd
    this.#parser = new MessageParser(options.maxLength)
    this.#allowance = maxReceived
    this.#needsFds = needsFds
    this.#poll = new Poll(
      fd,
      (events) => {
        this.#ready(events)
      },
      { ownsFd: true }
    )
    this.#poll.start({ readable: true })
    // Our half of the dialogue needs no answer in between, so it goes out in one piece.
    const identity = Buffer.from(String(uid)).toString('hex')
    this.#queue.appendBytes(Buffer.from(`\0AUTH EXTERNAL ${identity}\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n`))
    this.#scheduleSend()
  }

  /**
   * Queues a message. It and its descriptors are taken over: these are closed once sent. All messages of one turn of
   * the loop leave together; signals that come one after the other wait for more, or for what somebody waits for. Throws
   * TypeError or RangeError for values that do not fit the signature (then the descriptors stay the caller's). After the
   * end of the transport messages are dropped.
   */
  send(message: BusMessage): void {
    if (this.#closed) {
      // For the descriptors in its body.
      encodeMessage(message)
      closeAll(message.fds)
      return
    }
    this.#queue.append(message, this.#canPassFds)
    if (this.#reading) {
      // What is answered while reading leaves when all that came is read, without another round of the loop.
      if (this.#queue.length >= batchBytes) this.#send()
    } else if (message.type === signal && performance.now() - this.#lastSent < gatherMs) this.#gather()
    else this.#scheduleSend()
  }

  /** Resolves when everything queued so far was handed to the kernel, or the transport ended. */
  flush(): Promise<void> {
    this.#send()
    if (this.#queue.length === 0) return Promise.resolve()
    return new Promise((resolve) => this.#flushed.push(resolve))
  }

  /** Ends at once; what is still queued is lost. onClose is not called. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#poll.close()
    closeAll(this.#queue.clear())
    closeAll(this.#parser.close())
    this.#settleFlushes()
  }

  /** Ends as after an error met by the transport itself: for a receiver that finds a message malformed. */
  fail(error?: Error): void {
    if (this.#closed) return
    this.close()
    this.onClose(error)
  }

  #scheduleSend(): void {
    if (this.#flushScheduled) return
    this.#flushScheduled = true
    setImmediate(() => {
      this.#flushScheduled = false
      this.#send()
    })
  }

  #gather(): void {
    if (this.#gathering) return
    this.#gathering = true
    setTimeout(() => {
      this.#gathering = false
      this.#send()
    }, gatherMs)
  }

  /** Sends until the queue is empty or the socket is full; then it goes on when the socket takes more. */
  #send(): void {
    if (this.#closed) return
    const queue = this.#queue
    if (queue.length > 0) this.#lastSent = performance.now()
    try {
      while (!this.#blocked && queue.length > 0) {
        const { data, fds } = queue.next()
        const sent = sendMessage(this.#fd, data, fds)
        if (sent === undefined) this.#blocked = true
        else closeAll(queue.sent(sent))
      }
      if (queue.length > maxQueuedBytes) throw new Error(`The peer leaves ${String(queue.length)} bytes unread`)
    } catch (error) {
      this.fail(error as Error)
      return
    }
    if (this.#blocked) this.#watch()
    else this.#settleFlushes()
  }

  #watch(): void {
    this.#poll.start({ readable: this.#queue.length <= maxUnsentBytes, writable: this.#blocked })
  }

  #settleFlushes(): void {
    const flushed = this.#flushed
    this.#flushed = []
    for (const resolve of flushed) resolve()
  }

  #ready(events: PollEvents): void {
    if (events.writable && this.#blocked) {
      this.#blocked = false
      this.#send()
    }
    if (events.readable || events.error !== 0) this.#read()
    // Also after an error, which the read tells, maybe behind data: libuv has stopped watching then.
    if (!this.#closed) this.#watch()
  }

  #read(): void {
    this.#reading = true
    try {
      for (let reads = 0; reads < readsPerWakeUp && this.#queue.length <= maxUnsentBytes; reads++) {
        const received = this.#receiver.receive(this.#fd)
        if (received === undefined) break
        this.#push(this.#receiver.buffer.subarray(0, received.bytes), received.fds)
        if (received.bytes === 0) this.fail()
        // Before looking for more, which saves a busy peer a whole round of the loop and a lone caller nothing.
        this.#send()
        if (this.#closed) break
      }
    } catch (error) {
      this.fail(error as Error)
    }
    this.#reading = false
  }

  #push(chunk: Buffer, fds: number[]): void {
    this.#allowance -= chunk.length
    if (this.#allowance < 0) {
      closeAll(fds)
      throw new ProtocolError('The bus sends too much')
    }
    const rest = this.#authentication === undefined ? chunk : this.#authenticate(this.#authentication, chunk)
    if (rest.length === 0 && fds.length === 0) return
    for (const message of this.#parser.push(rest, fds)) {
      // A receiver may have closed us amid a batch.
      if (this.#closed) closeAll(message.fds)
      else this.onMessage(message)
    }
  }

  /** Reads the two answers of the dialogue; gives what follows them. Throws when we are refused. */
  #authenticate(before: string, chunk: Buffer): Buffer {
    const text = before + chunk.toString('latin1')
    const match = /^(.*?)\r\n(.*?)\r\n/s.exec(text)
    if (/^REJECTED/.test(text)) throw new ProtocolError('The bus refuses to authenticate us')
    if (match === null) {
      if (text.length > maxAuthLine) throw new ProtocolError('The bus sends no answer to authentication')
      this.#authentication = text
      return Buffer.alloc(0)
    }
    const [dialogue, accepted = '', descriptors] = match
    if (!/^OK( |$)/.test(accepted))
      throw new ProtocolError(`The bus refuses us: ${JSON.stringify(accepted.slice(0, 100))}`)
    this.#canPassFds = descriptors === 'AGREE_UNIX_FD'
    if (this.#needsFds && !this.#canPassFds) throw new ProtocolError('The bus passes no file descriptors')
    this.#authentication = undefined
    return Buffer.from(text.slice(dialogue.length), 'latin1')
  }
}

/** Closes descriptors; -1 stands for one that somebody took, and one that is there twice is closed once. */
export function closeAll(fds: readonly number[]): void {
  if (fds.length === 0) return
  for (const fd of new Set(fds)) if (fd >= 0) closeFd(fd)
}

/** Takes a received descriptor (an `h` value of the body) over from its message: the caller closes it then. */
export function takeFd(message: BusMessage, fd: number): number {
  const index = message.fds.indexOf(fd)
  if (fd < 0 || index < 0) throw new RangeError('The message does not hold this descriptor')
  message.fds[index] = -1
  return fd
}

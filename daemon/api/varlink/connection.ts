import { constants as os } from 'node:os'
import { isSystemError, systemError } from '../../base/errors.ts'
import { log } from '../../base/log.ts'
import { closeFd } from '../../linux/libc.ts'
import { Poll, type PollEvents } from '../../linux/poll.ts'
import { isHungUp } from '../../linux/readiness.ts'
import type { MessageReceiver } from '../../linux/unix-socket.ts'
import type { Admission } from './admission.ts'
import { FrameReader, ProtocolError } from './framing.ts'
import { OutQueue } from './out-queue.ts'
import type { Peer } from './peer.ts'

/** With so many bytes of replies unread, no further call is looked at, and a subscriber is given up. */
const MOST_UNREAD = 1024 * 1024
/** With so many bytes of calls waiting, no more are read. */
const MOST_WAITING = 1024 * 1024
/** A busy peer must not keep the loop from everybody else: so many reads of one buffer each per wake-up. */
const READS_PER_WAKE_UP = 8

/** What a connection needs of its server. */
export interface Host {
  readonly receiver: MessageReceiver
  readonly admission: Admission
  /** Answers one message; no other is looked at before it is done. Throws ProtocolError for what is no call. */
  readonly handle: (frame: Buffer, connection: Connection) => void | Promise<void>
  readonly onClose: (connection: Connection) => void
}

/** One client: reads its messages, has them handled one after the other, and writes the replies. Never throws. */
export class Connection {
  readonly peer: Peer
  readonly #fd: number
  readonly #host: Host
  readonly #poll: Poll
  readonly #reader = new FrameReader()
  /** Messages to handle, from `#next` on: taking them off the front would move all that follow. */
  #waiting: Buffer[] = []
  #next = 0
  #waitingBytes = 0
  readonly #out = new OutQueue()
  #abort: AbortController | undefined
  /** Bytes that the admission knows of. */
  #held = 0
  #busy = false
  /** The peer sends no more. */
  #ended = false
  #closed = false

  /** Takes over the socket. */
  constructor(fd: number, peer: Peer, host: Host) {
    this.#fd = fd
    this.peer = peer
    this.#host = host
    this.#poll = new Poll(
      fd,
      (events) => {
        this.#ready(events)
      },
      { ownsFd: true }
    )
    this.#poll.start({ readable: true })
  }

  /** Aborted when the peer is gone. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController()
    if (this.#closed) this.#abort.abort(gone())
    return this.#abort.signal
  }

  /** Sends a message; the descriptors are taken over. */
  send(text: string, fds: readonly number[] = []): void {
    if (this.#closed) {
      fds.forEach(closeFd)
      return
    }
    this.#out.push(Buffer.from(`${text}\0`), fds)
    this.#flush()
  }

  /** Sends a message that nobody asked for just now; a peer that does not read them is cut off. */
  notify(text: string): void {
    this.send(text)
    if (this.#out.bytes > MOST_UNREAD) this.close()
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#out.clear()
    this.#host.admission.hold(this.peer.uid, -this.#held)
    this.peer.close()
    this.#poll.close()
    this.#abort?.abort(gone())
    this.#host.onClose(this)
  }

  #ready(events: PollEvents): void {
    try {
      // Only a peer that is gone altogether makes an error. Reading would tell, but is not done now: nothing else will.
      if (events.error !== 0 && !this.#wantsMore()) {
        this.close()
        return
      }
      if (events.writable) this.#flush()
      if (events.readable || events.error !== 0) this.#read()
      this.#advance()
    } catch (error) {
      this.#fail(error)
    }
  }

  #read(): void {
    for (let reads = 0; reads < READS_PER_WAKE_UP && this.#wantsMore(); reads++) {
      const { receiver } = this.#host
      const received = receiver.receive(this.#fd)
      if (received === undefined) return
      if (received.fds.length > 0) {
        received.fds.forEach(closeFd)
        throw new ProtocolError('Descriptors are not taken')
      }
      if (received.bytes === 0) {
        this.#end()
        return
      }
      for (const frame of this.#reader.push(receiver.buffer.subarray(0, received.bytes))) {
        this.#waiting.push(frame)
        this.#waitingBytes += frame.length
      }
      this.#account()
      if (received.bytes < receiver.buffer.length) return
    }
  }

  /** Of one that only ends its own half, the calls are still answered. */
  #end(): void {
    this.#ended = true
    if (isHungUp(this.#fd)) this.close()
  }

  #wantsMore(): boolean {
    return !this.#closed && !this.#ended && this.#waitingBytes < MOST_WAITING && this.#mayAnswer()
  }

  #mayAnswer(): boolean {
    return this.#out.bytes <= MOST_UNREAD
  }

  #account(): void {
    const held = this.#waitingBytes + this.#reader.pending
    const few = this.#host.admission.hold(this.peer.uid, held - this.#held)
    this.#held = held
    if (!few) throw new ProtocolError('The user makes us hold too much')
  }

  /** Handles what waits, until something has to be waited for. */
  #advance(): void {
    while (!this.#closed && !this.#busy && this.#mayAnswer()) {
      const frame = this.#take()
      if (frame === undefined) break
      const pending = this.#host.handle(frame, this)
      if (pending === undefined) continue
      this.#busy = true
      void pending.then(
        () => {
          this.#goOn()
        },
        (error: unknown) => {
          this.#fail(error)
        }
      )
    }
    if (this.#closed) return
    this.#account()
    if (this.#ended && !this.#busy && this.#waitingBytes === 0 && this.#out.bytes === 0) this.close()
    else this.#watch()
  }

  #take(): Buffer | undefined {
    const frame = this.#waiting[this.#next++]
    if (frame !== undefined) this.#waitingBytes -= frame.length
    if (this.#next < this.#waiting.length) return frame
    this.#waiting = []
    this.#next = 0
    return frame
  }

  #goOn(): void {
    this.#busy = false
    try {
      this.#advance()
    } catch (error) {
      this.#fail(error)
    }
  }

  #flush(): void {
    try {
      this.#out.flush(this.#fd)
    } catch (error) {
      this.#fail(error)
    }
    this.#watch()
  }

  #watch(): void {
    if (!this.#closed) this.#poll.start({ readable: this.#wantsMore(), writable: this.#out.bytes > 0 })
  }

  /** What was answered before the peer went wrong still reaches it. */
  #fail(error: unknown): void {
    if (error instanceof ProtocolError) {
      log.debug({ err: error }, 'A Varlink client is cut off')
      this.#ended = true
      this.#waiting = []
      this.#next = 0
      this.#waitingBytes = 0
      if (!this.#busy && this.#out.bytes > 0) {
        this.#watch()
        return
      }
    } else if (!isSystemError(error)) log.error({ err: error }, 'A Varlink connection failed because of a bug')
    this.close()
  }
}

/** What a call fails with that nobody waits for any more. */
function gone(): Error {
  return systemError(os.errno.ECANCELED, 'recvmsg')
}

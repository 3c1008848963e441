import { encodeMessage, type BusMessage } from '../daemon/bus/message.ts'
import { closeFd } from '../daemon/linux/libc.ts'
import { Poll } from '../daemon/linux/poll.ts'
import { connectUnix, MessageReceiver, sendMessage } from '../daemon/linux/unix-socket.ts'

const systemBus = '/run/dbus/system_bus_socket'
const fixedHeader = 16
const [returnType, errorType] = [2, 3] as const

/** What is asked over and over. */
export type Request = Required<Pick<BusMessage, 'destination' | 'path' | 'interface' | 'member' | 'signature' | 'body'>>

/**
 * A connection that repeats one request and counts the replies. It decodes nothing and allocates nothing meanwhile, so
 * that what is measured is the bus and the service, and not the client.
 */
export class BenchConnection {
  readonly #fd: number
  readonly #poll: Poll
  readonly #receiver = new MessageReceiver(256 * 1024)
  /** The fixed part of a message's header, which may come in pieces. */
  readonly #head = Buffer.alloc(fixedHeader)
  #headLength = 0
  /** What is still to come of the message after #head. */
  #rest = 0
  #serial = 1
  /** Lines that the bus has still to say before messages come. */
  #lines = 2
  #onReplies: (count: number) => void = () => undefined
  #fail: (error: Error) => void = () => undefined

  private constructor(fd: number) {
    this.#fd = fd
    this.#poll = new Poll(
      fd,
      () => {
        this.#read()
      },
      { ownsFd: true }
    )
  }

  /** Connects to the system bus and says Hello. */
  static async open(): Promise<BenchConnection> {
    const connection = new BenchConnection(connectUnix(systemBus))
    const identity = Buffer.from(String(process.geteuid?.())).toString('hex')
    connection.#send(Buffer.from(`\0AUTH EXTERNAL ${identity}\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n`))
    const bus = 'org.freedesktop.DBus'
    const hello = { destination: bus, path: '/org/freedesktop/DBus', interface: bus, member: 'Hello' }
    connection.#poll.start({ readable: true })
    await connection.#repeat({ ...hello, signature: '', body: [] }, 1, () => false)
    return connection
  }

  /** Asks again when the answer is there; gives the time each call took, in microseconds. */
  async sequential(request: Request, durationMs: number): Promise<number[]> {
    const latencies: number[] = []
    let start = performance.now()
    const end = start + durationMs
    await this.#repeat(request, 1, () => {
      const now = performance.now()
      latencies.push((now - start) * 1000)
      start = now
      return now < end
    })
    return latencies
  }

  /** Keeps so many calls in flight; gives the calls answered per second. */
  async pipelined(request: Request, inFlight: number, durationMs: number): Promise<number> {
    const start = performance.now()
    let count = 0
    await this.#repeat(request, inFlight, (replies) => {
      count += replies
      return performance.now() - start < durationMs
    })
    return (count * 1000) / (performance.now() - start)
  }

  close(): void {
    this.#poll.close()
  }

  /** Asks `inFlight` times, and once more for each reply while `goOn` says so; resolves with the last reply. */
  #repeat(request: Request, inFlight: number, goOn: (replies: number) => boolean): Promise<void> {
    const one = encodeMessage({ type: 1, flags: 0, serial: 1, fds: [], ...request })
    const requests = Buffer.concat(Array.from({ length: inFlight }, () => one))
    const ask = (count: number): void => {
      for (let index = 0; index < count; index++) requests.writeUInt32LE(this.#serial++, index * one.length + 8)
      this.#send(requests.subarray(0, count * one.length))
    }
    return new Promise((resolve, reject) => {
      let waiting = inFlight
      this.#fail = reject
      this.#onReplies = (count) => {
        if (goOn(count)) ask(count)
        else if ((waiting -= count) === 0) resolve()
      }
      ask(inFlight)
    })
  }

  #send(bytes: Buffer): void {
    if (sendMessage(this.#fd, bytes) !== bytes.length) throw new Error('The bus does not take a whole request')
  }

  #read(): void {
    try {
      const received = this.#receiver.receive(this.#fd)
      if (received === undefined) return
      received.fds.forEach(closeFd)
      if (received.bytes === 0) throw new Error('The bus hung up')
      const replies = this.#countReplies(this.#receiver.buffer, received.bytes)
      if (replies > 0) this.#onReplies(replies)
    } catch (error) {
      this.#poll.stop()
      this.#fail(error as Error)
    }
  }

  /** How many replies end within these bytes. */
  #countReplies(bytes: Buffer, length: number): number {
    let at = this.#lines === 0 ? 0 : this.#authenticate(bytes, length)
    let replies = 0
    while (at < length) {
      if (this.#headLength < fixedHeader) {
        const part = Math.min(fixedHeader - this.#headLength, length - at)
        bytes.copy(this.#head, this.#headLength, at, at + part)
        this.#headLength += part
        at += part
        if (this.#headLength < fixedHeader) break
        this.#rest = ((this.#head.readUInt32LE(12) + 7) & ~7) + this.#head.readUInt32LE(4)
      }
      const part = Math.min(this.#rest, length - at)
      this.#rest -= part
      at += part
      if (this.#rest > 0) break
      if (this.#head[1] === errorType) throw new Error(`An error came back: ${bytes.toString('latin1', 0, at)}`)
      if (this.#head[1] === returnType) replies++
      this.#headLength = 0
    }
    return replies
  }

  /** Where messages start, after the bus has agreed to who we are and to descriptors. */
  #authenticate(bytes: Buffer, length: number): number {
    let at = 0
    while (this.#lines > 0 && at < length) {
      const end = bytes.subarray(0, length).indexOf('\n', at)
      const line = bytes.toString('latin1', at, end)
      if (end < 0 || !/^(OK|AGREE_UNIX_FD)\b/.test(line)) throw new Error('The bus refuses the bench client')
      this.#lines--
      at = end + 1
    }
    return at
  }
}

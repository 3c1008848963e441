import { closeFd } from '../../linux/libc.ts'
import { sendMessage } from '../../linux/unix-socket.ts'

/** Replies on their way to the socket, each with the descriptors that go with its first byte. */
export class OutQueue {
  readonly #entries: { data: Buffer; fds: readonly number[] }[] = []
  #bytes = 0

  get bytes(): number {
    return this.#bytes
  }

  /** The descriptors are taken over: they are closed once sent. */
  push(data: Buffer, fds: readonly number[] = []): void {
    this.#entries.push({ data, fds })
    this.#bytes += data.length
  }

  /** Sends what the socket takes. Throws SystemError. */
  flush(socket: number): void {
    for (let first = this.#entries[0]; first !== undefined; first = this.#entries[0]) {
      const sent = sendMessage(socket, first.data, first.fds)
      if (sent === undefined) return
      this.#bytes -= sent
      // They are with the kernel as soon as one byte is.
      first.fds.forEach(closeFd)
      first.fds = []
      if (sent < first.data.length) first.data = first.data.subarray(sent)
      else this.#entries.shift()
    }
  }

  /** Forgets all, and closes the descriptors. */
  clear(): void {
    for (const { fds } of this.#entries.splice(0)) fds.forEach(closeFd)
    this.#bytes = 0
  }
}

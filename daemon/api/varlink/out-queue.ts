import { closeFd } from '../../linux/libc.ts'
import { maxBuffersPerSend, sendMessage } from '../../linux/unix-socket.ts'

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
      const buffers = first.fds.length > 0 ? [first.data] : this.#buffersWithoutFds()
      const sent = sendMessage(socket, buffers, first.fds)
      if (sent === undefined) return
      // They are with the kernel as soon as one byte is.
      first.fds.forEach(closeFd)
      first.fds = []
      this.#drop(sent)
    }
  }

  /** Forgets all, and closes the descriptors. */
  clear(): void {
    for (const { fds } of this.#entries.splice(0)) fds.forEach(closeFd)
    this.#bytes = 0
  }

  #buffersWithoutFds(): Buffer[] {
    const end = this.#entries.findIndex(({ fds }, index) => fds.length > 0 || index === maxBuffersPerSend)
    return this.#entries.slice(0, end < 0 ? undefined : end).map(({ data }) => data)
  }

  #drop(sent: number): void {
    this.#bytes -= sent
    let rest = sent
    let whole = 0
    for (const entry of this.#entries) {
      if (rest < entry.data.length) {
        entry.data = entry.data.subarray(rest)
        break
      }
      rest -= entry.data.length
      whole++
    }
    this.#entries.splice(0, whole)
  }
}

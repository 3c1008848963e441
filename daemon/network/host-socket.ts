import { RequestSocket } from '../linux/netlink-request.ts'

/** The socket for requests about the host's own links. It is opened when it is first needed: most hosts need none. */
export class HostSocket {
  #socket: RequestSocket | undefined

  get requests(): RequestSocket {
    return (this.#socket ??= new RequestSocket())
  }

  /** The next request opens another one. */
  close(): void {
    this.#socket?.close()
    this.#socket = undefined
  }
}

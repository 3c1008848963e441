import type { PolkitSubject } from '../../bus/polkit.ts'
import type { PidRef } from '../../linux/process.ts'
import type { Caller } from '../access.ts'
import type { Request } from './framing.ts'
import type { Peer } from './peer.ts'

/** One method call and who made it. */
export class Call implements Caller {
  readonly request: Request
  readonly #peer: Peer
  /** Descriptors to go with the reply. */
  readonly fds: number[] = []

  readonly #signal: () => AbortSignal

  constructor(request: Request, peer: Peer, signal: () => AbortSignal) {
    this.request = request
    this.#peer = peer
    this.#signal = signal
  }

  /** Made only when asked for: most calls are answered before anybody could hang up. */
  get signal(): AbortSignal {
    return this.#signal()
  }

  get interactive(): boolean {
    return this.request.parameters['allowInteractiveAuthentication'] === true
  }

  uid(): number {
    return this.#peer.uid
  }

  pin(): PidRef {
    return this.#peer.pin()
  }

  readonly subject = (): PolkitSubject => this.#peer.subject()

  /** Sends a descriptor along with the reply, which it then belongs to; gives its index there. */
  attach(fd: number): number {
    return this.fds.push(fd) - 1
  }
}

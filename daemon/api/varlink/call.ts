import type { PolkitSubject } from '../../bus/polkit.ts'
import type { PidRef } from '../../linux/process.ts'
import type { Caller } from '../access.ts'
import type { Request } from './framing.ts'
import type { Peer } from './peer.ts'
import { formatReply } from './reply.ts'
import type { Output } from './schema.ts'

/** Whence a call came, and where its replies go. */
export interface Line {
  readonly peer: Peer
  /** Aborted when the peer is gone. */
  readonly signal: AbortSignal
  readonly send: (text: string) => void
}

/** One method call and who made it. */
export class Call implements Caller {
  readonly request: Request
  /** Descriptors to go with the reply. */
  readonly fds: number[] = []
  readonly #line: Line

  constructor(request: Request, line: Line) {
    this.request = request
    this.#line = line
  }

  /** Made only when asked for: most calls are answered before anybody could hang up. */
  get signal(): AbortSignal {
    return this.#line.signal
  }

  get interactive(): boolean {
    return this.request.parameters['allowInteractiveAuthentication'] === true
  }

  uid(): number {
    return this.#line.peer.uid
  }

  pin(): PidRef {
    return this.#line.peer.pin()
  }

  readonly subject = (): PolkitSubject => this.#line.peer.subject()

  /** Sends a descriptor along with the reply, which it then belongs to; gives its index there. */
  attach(fd: number): number {
    return this.fds.push(fd) - 1
  }

  /** Sends a reply that is not the last one. */
  replyAndGoOn(output: Output): void {
    if (!this.request.oneway) this.#line.send(formatReply(output, true))
  }
}

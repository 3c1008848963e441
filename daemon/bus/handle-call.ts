import { closeAll } from './transport.ts'
import type { BusMessage } from './message.ts'

/** What answers a call; what it throws is the peer's doing (ProtocolError), or a bug of ours. */
export type CallHandler = (message: BusMessage) => void | Promise<void>

/**
 * Has a call handled, then closes those of its descriptors that nobody took; what the handler throws goes to `onError`. One
 * that needs no waiting is done at once, without a promise.
 */
export function handleCall(message: BusMessage, handler: CallHandler, onError: (error: unknown) => void): void {
  const fail = (error: unknown): void => {
    closeAll(message.fds)
    onError(error)
  }
  try {
    const pending = handler(message)
    if (pending)
      void pending
        .then(() => {
          closeAll(message.fds)
        })
        .catch(fail)
    else closeAll(message.fds)
  } catch (error) {
    fail(error)
  }
}

import type { BusMessage } from './message.ts'

/** A message to send; the connection gives it its serial. `h` values in the body are descriptors, closed once sent. */
export type OutgoingMessage = Pick<BusMessage, 'type'> & Partial<Omit<BusMessage, 'type' | 'serial' | 'sender'>>

/**
 * A method call. `timeout` in ms, that of the connection unless told, Infinity for none. Descriptors in the body are taken
 * over and closed, also when the call fails.
 */
export interface CallRequest {
  destination: string
  path: string
  interface: string
  member: string
  signature?: string
  body?: unknown[]
  flags?: number
  timeout?: number
}

import { connect, type Socket } from 'node:net'

/** As many connections are passed on at a time; each takes two descriptors. */
const MOST_RELAYS = 512
const CONNECT_MS = 10_000
const KEEPALIVE_MS = 60_000

let relays = 0

/** Where a connection may go. */
export interface RelayTarget {
  readonly host: string
  readonly port: number
}

/**
 * Passes what comes on a connection on to the first target that takes it, and back; each side may end before the other.
 * A client that nobody takes, or that is one too many, is reset.
 */
export function relay(client: Socket, targets: readonly RelayTarget[]): void {
  client.on('error', () => client.destroy())
  if (relays >= MOST_RELAYS) {
    client.resetAndDestroy()
    return
  }
  relays++
  client.once('close', () => relays--)
  connectToFirst(client, targets)
}

function connectToFirst(client: Socket, [target, ...others]: readonly RelayTarget[]): void {
  if (client.destroyed) return
  if (target === undefined) {
    client.resetAndDestroy()
    return
  }
  const server = connect({ ...target, allowHalfOpen: true, noDelay: true })
  server.setTimeout(CONNECT_MS)
  const goOn = (): void => {
    server.destroy()
    connectToFirst(client, others)
  }
  server.once('error', goOn).once('timeout', goOn)
  const stop = (): void => {
    server.destroy()
  }
  client.once('close', stop)
  server.once('connect', () => {
    server.off('error', goOn).off('timeout', goOn).setTimeout(0)
    client.off('close', stop)
    join(client, server)
  })
}

function join(client: Socket, server: Socket): void {
  client.setNoDelay(true)
  for (const [one, other] of [
    [client, server],
    [server, client]
  ] as const) {
    one.setKeepAlive(true, KEEPALIVE_MS)
    one.on('error', () => other.resetAndDestroy())
    // What ended as it should has ended the other as well, which may have something left to send.
    one.on('close', () => {
      if (!other.writableEnded) other.destroy()
    })
    one.pipe(other)
  }
  client.resume()
}

import type * as Net from 'node:net'
import { isSystemError } from '../base/errors.ts'
import { log } from '../base/log.ts'
import { formatIp } from '../base/prefix.ts'
import type { ActiveForward } from './firewall-state.ts'
import { listenText } from './forward-text.ts'

const LOOPBACK_4 = '127.0.0.1'
const LOOPBACK_6 = '::1'
/** More are not listened at: each takes a descriptor, and ranges can have thousands of ports. */
const MOST_PLACES = 512

/** An address and port of ours that is listened at. */
interface Listener {
  readonly host: string
  readonly port: number
  readonly server: Net.Server
  forward: ActiveForward
}

/**
 * Listens at the loopback addresses for TCP forwards (networking.md 7.6). At ::1 there is no other way, as the kernel
 * routes it nowhere else; what comes there is passed on. At 127.0.0.1 rules lead into the machine, and the port is only
 * held, so that a service of the host that has it is noticed, and one that wants it is told.
 */
export class LoopbackProxy {
  readonly #listeners = new Map<string, Listener>()
  readonly #complained = new Set<string>()
  /** The machines that connections lead to. */
  readonly #clients = new Map<Net.Socket, string>()
  #serving: Promise<unknown> = Promise.resolve()

  /**
   * Listens for these forwards, and for none of those before. Gives the ports that services of the host have at
   * 127.0.0.1, which are left to them. Throws nothing.
   */
  serve(forwards: readonly ActiveForward[]): Promise<number[]> {
    // One after the other: a port may be on its way still.
    const served = this.#serving.then(() => this.#serve(forwards))
    this.#serving = served
    return served
  }

  /** Ends the connections to a machine that is over. */
  hangUp(machine: string): void {
    for (const [client, to] of this.#clients) if (to === machine) client.resetAndDestroy()
  }

  async #serve(forwards: readonly ActiveForward[]): Promise<number[]> {
    const wanted = placesOf(forwards)
    for (const [key, { server }] of this.#listeners) if (!wanted.has(key)) this.#close(key, server)
    const taken: number[] = []
    for (const [key, place] of wanted) {
      const listener = this.#listeners.get(key)
      if (listener !== undefined) listener.forward = place.forward
      else if ((await this.#open(key, place)) === 'taken' && place.host === LOOPBACK_4) taken.push(place.port)
    }
    return taken
  }

  #close(key: string, server: Net.Server): void {
    this.#listeners.delete(key)
    // Connections go on, as those do that rules lead.
    server.close()
  }

  async #open(key: string, { host, port, forward }: Place): Promise<'open' | 'taken' | 'failed'> {
    // Loaded when first needed: few hosts have forwards.
    const [{ createServer }, { relay }] = await Promise.all([import('node:net'), import('./relay.ts')])
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true })
    const listener = { host, port, server, forward }
    this.#listeners.set(key, listener)
    server.on('connection', (client) => {
      this.#clients.set(client, listener.forward.machine)
      client.once('close', () => this.#clients.delete(client))
      relay(client, targetsOf(listener))
    })
    const failure = await new Promise<unknown>((resolve) => {
      server.once('error', resolve)
      server.listen({ host, port, exclusive: true }, () => {
        server.off('error', resolve)
        resolve(undefined)
      })
    })
    server.on('error', (error) => {
      log.warn({ err: error }, `Failed to accept connections at ${key}`)
    })
    server.unref()
    if (failure === undefined) {
      this.#complained.delete(key)
      return 'open'
    }
    this.#listeners.delete(key)
    const isTaken = isSystemError(failure) && failure.code === 'EADDRINUSE'
    if (!this.#complained.has(key)) {
      const reason = isTaken ? 'a service of the host has it' : 'it cannot be listened at'
      const fields = { NAME: forward.machine, err: failure }
      log.warn(fields, `Port ${listenText(forward)} does not lead to machine ${forward.machine} at ${key}: ${reason}`)
    }
    this.#complained.add(key)
    return isTaken ? 'taken' : 'failed'
  }
}

/** Where to listen, and for what. */
type Place = Pick<Listener, 'host' | 'port' | 'forward'>

/** As many as there may be; the first ports come first. */
function placesOf(forwards: readonly ActiveForward[]): Map<string, Place> {
  const places = new Map<string, Place>()
  for (const forward of forwards) {
    if (places.size >= MOST_PLACES) break
    if (forward.protocol !== 'tcp') continue
    const hosts = hostsOf(forward)
    for (let port = forward.first; port <= forward.last && places.size < MOST_PLACES; port++) {
      for (const host of hosts) {
        places.set(host === LOOPBACK_6 ? `[${host}]:${port}` : `${host}:${port}`, { host, port, forward })
      }
    }
  }
  return places
}

function hostsOf({ address }: ActiveForward): string[] {
  const hosts = [LOOPBACK_4, LOOPBACK_6]
  return address === undefined ? hosts : hosts.filter((host) => host === formatIp(address))
}

/** The machine's addresses, of the caller's family first. */
function targetsOf({ port, forward }: Listener): { host: string; port: number }[] {
  const targetPort = forward.target + port - forward.first
  return [forward.ip6, forward.ip4].flatMap((ip) =>
    ip === undefined ? [] : [{ host: formatIp(ip), port: targetPort }]
  )
}

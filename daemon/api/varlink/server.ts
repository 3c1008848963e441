import { log } from '../../base/log.ts'
import type { Authority } from '../../bus/polkit.ts'
import { closeFd } from '../../linux/libc.ts'
import { Poll } from '../../linux/poll.ts'
import { acceptUnix, refuseDescriptors } from '../../linux/unix-listener.ts'
import { MessageReceiver } from '../../linux/unix-socket.ts'
import { authorizeAgain, grantByUid } from '../authorize.ts'
import { type MaybePromise, whenReady } from '../when-ready.ts'
import { Admission } from './admission.ts'
import { Call } from './call.ts'
import { Connection, type Host } from './connection.ts'
import { expectedMore, invalidParameter, methodNotFound, replyOf, systemFailure } from './errors.ts'
import { parseRequest } from './framing.ts'
import { formatJson } from './json.ts'
import { Peer } from './peer.ts'
import { formatReply } from './reply.ts'
import { badField, BadValue, type InterfaceTable, type MethodRow, type Output } from './schema.ts'
import { type Result, Subscription, type Values } from './schema.ts'

const RECEIVE_BYTES = 64 * 1024
/** After how many milliseconds connections are accepted again when there was no descriptor left for one. */
const ACCEPT_PAUSE_MS = 100
const nobody = { admin: false }

/** A method with all that dispatching needs of it; the target's type is forgotten, as table and target are kept as a pair. */
interface Bound {
  readonly row: MethodRow<unknown>
  readonly table: InterfaceTable<unknown>
  readonly target: unknown
}

/** Answers method calls on listening sockets out of interface tables (spec/varlink-and-clients.md A1.3, A2). */
export class VarlinkServer {
  /** Called when a client has gone. */
  onLeave: () => void = () => undefined
  readonly #authority: Authority
  readonly #methods = new Map<string, Bound>()
  readonly #tables: InterfaceTable<unknown>[] = []
  readonly #connections = new Set<Connection>()
  readonly #listeners: Poll[] = []
  readonly #host: Host

  constructor(authority: Authority) {
    this.#authority = authority
    this.#host = {
      receiver: new MessageReceiver(RECEIVE_BYTES),
      admission: new Admission(),
      handle: (frame, connection) => this.#handle(frame, connection),
      onClose: (connection) => {
        this.#connections.delete(connection)
        this.#host.admission.leave(connection.peer.uid)
        this.onLeave()
      }
    }
  }

  /** How many clients are connected. */
  get connections(): number {
    return this.#connections.size
  }

  /** What is served. */
  get tables(): readonly InterfaceTable<unknown>[] {
    return this.#tables
  }

  /** Offers the methods of an interface. */
  serve<T>(typed: InterfaceTable<T>, target: T): void {
    const table = typed as unknown as InterfaceTable<unknown>
    this.#tables.push(table)
    for (const [name, row] of Object.entries(table.methods)) {
      this.#methods.set(`${table.name}.${name}`, { row, table, target })
    }
  }

  /** Accepts connections on a listening socket, which is taken over. */
  listen(fd: number): void {
    refuseDescriptors(fd)
    const poll = new Poll(
      fd,
      () => {
        this.#accept(fd, poll)
      },
      { ownsFd: true }
    )
    poll.start({ readable: true })
    this.#listeners.push(poll)
  }

  /** Serves one connected socket, which is taken over. Throws SystemError. */
  adopt(fd: number): void {
    let peer: Peer
    try {
      peer = new Peer(fd)
    } catch (error) {
      closeFd(fd)
      throw error
    }
    if (this.#host.admission.enter(peer.uid)) this.#connections.add(new Connection(fd, peer, this.#host))
    else closeFd(fd)
  }

  /** Ends it with all its connections. */
  close(): void {
    for (const poll of this.#listeners.splice(0)) poll.close()
    for (const connection of this.#connections) connection.close()
  }

  #accept(listener: number, poll: Poll): void {
    try {
      // One at a time: mostly there is no other, and those connected before have their turn, too.
      const fd = acceptUnix(listener)
      if (fd !== undefined) this.adopt(fd)
    } catch (error) {
      log.warn({ err: error }, 'Cannot accept a Varlink connection')
      poll.stop()
      setTimeout(() => {
        poll.start({ readable: true })
      }, ACCEPT_PAUSE_MS)
    }
  }

  /** What the call asks for may fail, this only for what is no call: with ProtocolError. */
  #handle(frame: Buffer, connection: Connection): void | Promise<void> {
    const request = parseRequest(frame)
    const call = new Call(request, connection)
    const bound = this.#methods.get(request.method)
    try {
      const result = this.#dispatch(call, bound)
      if (!(result instanceof Promise)) return reply(connection, call, result)
      return result.then(
        (ready) => reply(connection, call, ready),
        (error: unknown) => {
          replyError(connection, call, error, bound)
        }
      )
    } catch (error) {
      replyError(connection, call, error, bound)
    }
  }

  #dispatch(call: Call, bound: Bound | undefined): MaybePromise<Result> {
    const { method, parameters, more, upgrade } = call.request
    if (bound === undefined) throw methodNotFound(method)
    const { row, target } = bound
    if (upgrade) throw systemFailure('EUCLEAN')
    if (row.more === 'required' && !more) throw expectedMore()
    const bad = badField(row.in, parameters)
    if (bad !== undefined) throw invalidParameter(bad)
    const { access } = row
    const values = readValues(row, call)
    if (access === 'anyone') return row.run(target, values, call, nobody)
    return whenReady(access.rule(target, values, call), (rule) => {
      const grant = grantByUid(rule, call.uid())
      if (grant !== undefined) return row.run(target, values, call, grant)
      const again = async () => {
        const read = readValues(row, call)
        return [read, await access.rule(target, read, call)] as [Values, typeof rule]
      }
      return authorizeAgain(this.#authority, rule, call, again).then(({ target: read, grant: granted }) =>
        row.run(target, read, call, granted)
      )
    })
  }
}

function readValues(row: MethodRow<unknown>, { request: { parameters } }: Call): Values {
  const values: Record<string, unknown> = {}
  for (const name in row.in) {
    try {
      values[name] = row.in[name]?.read(Object.hasOwn(parameters, name) ? parameters[name] : undefined)
    } catch (error) {
      if (error instanceof BadValue) throw invalidParameter(name)
      throw error
    }
  }
  return values
}

function reply(connection: Connection, call: Call, result: Result): void | Promise<void> {
  const { oneway, more } = call.request
  if (oneway) {
    call.fds.forEach(closeFd)
  } else if (result instanceof Subscription) {
    return follow(connection, result, more)
  } else if (Array.isArray(result)) {
    ;(result as readonly Output[]).forEach((output, index) => {
      connection.send(formatReply(output, index < result.length - 1))
    })
  } else connection.send(formatReply(result as Output, false), call.fds)
}

/** Sends replies until the client is gone, or just the first to one that wants no more. */
function follow(connection: Connection, subscription: Subscription, more: boolean): void | Promise<void> {
  if (!more) {
    const outputs: Output[] = []
    subscription.start((output) => outputs.push(output))()
    connection.send(formatReply(outputs[0] ?? {}, false))
    return
  }
  const stop = subscription.start((output) => {
    connection.notify(formatReply(output, true))
  })
  return new Promise((resolve) => {
    connection.signal.addEventListener('abort', () => {
      stop()
      resolve()
    })
    if (connection.signal.aborted) stop()
  })
}

function replyError(connection: Connection, call: Call, error: unknown, bound: Bound | undefined): void {
  call.fds.forEach(closeFd)
  const text = formatJson(replyOf(error, bound?.table))
  if (!call.request.oneway) connection.send(text)
}

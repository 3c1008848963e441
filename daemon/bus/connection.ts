import { EventEmitter } from 'node:events'
import { constants as os } from 'node:os'
import { systemError } from '../base/errors.ts'
import {
  dbusError,
  fieldsOf,
  isDBusError,
  Message,
  MessageBus,
  type ClientBus,
  type ClientMessage
} from './client-bus.ts'
import { handleCall, type CallHandler } from './handle-call.ts'
import { ProtocolError, requireDecodable, type BusMessage } from './message.ts'
import type { CallRequest, OutgoingMessage } from './outgoing.ts'
import { Subscriptions, type SignalMatch } from './subscriptions.ts'
import { closeAll, connectBusSocket, Transport, type TransportOptions } from './transport.ts'

export type { CallRequest, OutgoingMessage } from './outgoing.ts'
export type { SignalMatch } from './subscriptions.ts'
export { takeFd } from './transport.ts'
export { dbusError, isDBusError, NO_AUTO_START, NO_OWNER_ERRORS, type DBusError } from './client-bus.ts'

const [callType, errorType, signalType] = [1, 3, 4] as const

/** How to treat a bus: for one that is not trusted, how much and for how long. */
export interface ConnectionOptions extends TransportOptions {
  /** How long to wait for the bus to let us in, in ms; without it as for any call. */
  greeting?: number
  /** How long to wait for the answer to a call that does not say, in ms; without it 25 seconds. */
  timeout?: number
}

const driver = { destination: 'org.freedesktop.DBus', path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus' }
/** MessageBus says Hello first of all. */
const helloSerial = 1
const systemBus = 'unix:path=/run/dbus/system_bus_socket'

/**
 * Our connection to a message bus. Method calls go to onMethodCall as they come; for calls of our own and for signals
 * there is dbus-next's MessageBus on top of our transport. Descriptors of a message that nobody took (takeFd) are closed:
 * of a call when its handler is done, else one turn of the loop after the reply or signal was delivered.
 */
export class Connection {
  /** Handles calls to us; replying is its own affair. The message's descriptors are kept until its promise settles. */
  onMethodCall: CallHandler = () => undefined
  /** Called once when the bus went away, not after close(). */
  onClose: (error?: Error) => void = () => undefined
  readonly #transport: Transport
  readonly #adapter = new EventEmitter()
  readonly #bus: ClientBus
  readonly #pending = new Set<(error: Error) => void>()
  readonly #subscriptions = new Subscriptions()
  readonly #timeout: number
  #closed = false
  #failHello: (error: Error) => void = () => undefined

  /** Connects to $DBUS_SYSTEM_BUS_ADDRESS or the system bus, unless told another address. Throws when that fails. */
  static async open(address = process.env['DBUS_SYSTEM_BUS_ADDRESS'] ?? systemBus): Promise<Connection> {
    return Connection.adopt(await connectBusSocket(address))
  }

  /**
   * The same on a connected socket, which is taken over: such as one made inside a container. Throws ProtocolError for
   * a peer that is no bus, ETIMEDOUT for a silent one.
   */
  static async adopt(fd: number, options: ConnectionOptions = {}): Promise<Connection> {
    const connection = new Connection(new Transport(fd, options), options)
    try {
      await connection.#hello(options.greeting ?? connection.#timeout)
    } catch (error) {
      connection.close()
      throw error
    }
    return connection
  }

  private constructor(transport: Transport, { timeout = 25_000 }: ConnectionOptions) {
    this.#transport = transport
    this.#timeout = timeout
    transport.onMessage = (message) => {
      this.#receive(message)
    }
    transport.onClose = (error) => {
      this.#ended(error)
    }
    Object.assign(this.#adapter, {
      message: (message: ClientMessage) => {
        transport.send({ ...fieldsOf(message), fds: [] })
      },
      stream: {
        writable: true,
        end: () => {
          this.close()
        }
      }
    })
    this.#bus = new MessageBus(this.#adapter)
    this.#bus.on('error', () => undefined)
  }

  /** Our name on the bus, such as `:1.42`. */
  get uniqueName(): string {
    return this.#bus.name ?? ''
  }

  /** How many calls of ours wait for an answer. */
  get pendingCalls(): number {
    return this.#pending.size
  }

  /**
   * Sends a reply, an error or a signal; gives its serial. Throws TypeError or RangeError for a body that does not fit
   * (its descriptors stay the caller's then). After the end of the connection it does nothing.
   */
  send(message: OutgoingMessage): number {
    const serial = this.#newSerial()
    // Field by field: spreading objects would take longer than all the rest of a reply.
    this.#transport.send({
      type: message.type,
      flags: message.flags ?? 0,
      serial,
      path: message.path,
      interface: message.interface,
      member: message.member,
      errorName: message.errorName,
      replySerial: message.replySerial,
      destination: message.destination,
      signature: message.signature ?? '',
      body: message.body ?? [],
      fds: message.fds ?? []
    })
    return serial
  }

  /** Calls a method. Rejects with DBusError for an error reply, for no reply in time and for the loss of the bus. */
  async call(request: CallRequest): Promise<BusMessage> {
    const { timeout = this.#timeout, ...fields } = request
    if (this.#closed) {
      // Closes the descriptors.
      this.send({ ...fields, type: callType })
      throw dbusError('org.freedesktop.DBus.Error.Disconnected', 'Connection is closed')
    }
    const bus = this.#bus
    this.#wrapSerial()
    const message = new Message({ ...fields, type: callType })
    let reject: (error: Error) => void = () => undefined
    let timer: NodeJS.Timeout | undefined
    const failure = new Promise<never>((_resolve, fail) => {
      reject = fail
      this.#pending.add(fail)
      if (timeout === Infinity) return
      timer = setTimeout(() => {
        fail(dbusError('org.freedesktop.DBus.Error.NoReply', `Call of ${request.member} timed out`))
      }, timeout)
    })
    try {
      return await Promise.race([bus.call(message), failure])
    } finally {
      clearTimeout(timer)
      this.#pending.delete(reject)
      // dbus-next forgets neither calls that are never answered nor the owner of any name it called.
      Reflect.deleteProperty(bus._methodReturnHandlers, message.serial)
      Reflect.deleteProperty(bus._nameOwners, request.destination)
    }
  }

  /** Asks the bus for these signals and calls the listener with each. Resolves when the bus has agreed. */
  async onSignal(match: SignalMatch, listener: (message: BusMessage) => void): Promise<void> {
    const { sender } = match
    if (sender !== undefined && !sender.startsWith(':') && sender !== driver.destination)
      await this.#followOwner(sender)
    this.#subscriptions.add(match, listener)
    const rule = Object.entries(match).map(([key, value]) => `,${key}='${String(value)}'`)
    await this.call({ ...driver, member: 'AddMatch', signature: 's', body: [`type='signal'${rule.join('')}`] })
  }

  /** Resolves when all that was sent is with the kernel. */
  flush(): Promise<void> {
    return this.#transport.flush()
  }

  /** Ends the connection at once; calls without an answer fail. */
  close(): void {
    this.#transport.close()
    this.#rejectPending('Connection is closed')
  }

  async #hello(ms: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>((resolve, reject) => {
      this.#failHello = reject
      this.#bus.once('connect', resolve)
      timer = setTimeout(() => {
        this.#failHello(systemError(os.errno.ETIMEDOUT, 'connect'))
      }, ms)
    }).finally(() => {
      clearTimeout(timer)
    })
  }

  #newSerial(): number {
    this.#wrapSerial()
    return this.#bus.newSerial()
  }

  /** Serials are 32 bits wide and never 0. */
  #wrapSerial(): void {
    if (this.#bus._serial > 0xffffffff) this.#bus._serial = 1
  }

  #receive(message: BusMessage): void {
    if (message.type === callType) {
      handleCall(message, this.onMethodCall, (error) => {
        this.#failed(error)
      })
      return
    }
    try {
      if (message.type === signalType) {
        this.#subscriptions.deliver(message, (error) => {
          this.#failed(error)
        })
      } else if (message.type === errorType && message.replySerial === helloSerial && this.#bus.name === null) {
        // dbus-next would answer a refused Hello with an unhandled rejection.
        this.#failHello(dbusError(message.errorName ?? '', String(message.body[0])))
      } else {
        // Decode here, where a malformed body ends the connection, and not within dbus-next.
        requireDecodable(message)
        // An error can carry anything, or nothing, where its text should be.
        if (message.type === errorType && typeof message.body[0] !== 'string') message.body[0] = ''
        this.#adapter.emit('message', message)
      }
    } catch (error) {
      this.#transport.fail(error as Error)
    }
    // Only after those who wait for a reply have gone on.
    if (message.fds.length > 0)
      setImmediate(() => {
        closeAll(message.fds)
      })
  }

  /** What a handler threw: the peer's doing, or a bug of ours. */
  #failed(error: unknown): void {
    if (error instanceof ProtocolError) this.#transport.fail(error)
    else surface(error)
  }

  /** Keeps the unique name behind a well-known one, for signals carry the unique one and anybody may send us any signal. */
  async #followOwner(name: string): Promise<void> {
    if (this.#subscriptions.hasOwner(name)) return
    this.#subscriptions.setOwner(name, '')
    await this.onSignal(
      { sender: driver.destination, interface: driver.interface, member: 'NameOwnerChanged', arg0: name },
      (message) => {
        this.#subscriptions.setOwner(name, String(message.body[2]))
      }
    )
    const owner = await this.call({ ...driver, member: 'GetNameOwner', signature: 's', body: [name] }).catch(
      (error: unknown) => {
        if (isDBusError(error) && error.type === 'org.freedesktop.DBus.Error.NameHasNoOwner') return undefined
        throw error
      }
    )
    if (owner !== undefined) this.#subscriptions.setOwner(name, String(owner.body[0]))
  }

  #rejectPending(text: string): void {
    this.#closed = true
    for (const reject of this.#pending) reject(dbusError('org.freedesktop.DBus.Error.Disconnected', text))
    this.#pending.clear()
  }

  #ended(error?: Error): void {
    this.#rejectPending(error?.message ?? 'The bus closed the connection')
    if (this.#bus.name === null) this.#failHello(error ?? new ProtocolError('The bus closed the connection'))
    else this.onClose(error)
  }
}

/** Makes a bug in a handler an uncaught exception, once the messages at hand are done. */
function surface(error: unknown): void {
  queueMicrotask(() => {
    throw error
  })
}

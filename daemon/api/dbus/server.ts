import { MachinedError, systemError } from '../../base/errors.ts'
import { log } from '../../base/log.ts'
import type { Connection } from '../../bus/connection.ts'
import type { BusDriver } from '../../bus/driver.ts'
import { ProtocolError, requireDecodable, type BusMessage } from '../../bus/message.ts'
import type { Authority } from '../../bus/polkit.ts'
import { authorizeAgain, grantByUid } from '../authorize.ts'
import { errorReply } from '../error-replies.ts'
import { type MaybePromise, whenReady } from '../when-ready.ts'
import type { BoundInterface, BoundMethod } from './binding.ts'
import { BusCaller } from './caller.ts'
import { nodeXml } from './introspection.ts'
import { type Children, type Find, ObjectTree } from './object-tree.ts'
import { answerProperties, propertiesInterface } from './properties.ts'
import { answerPeer, peerInterface } from './peer.ts'
import { type Answer, closeDescriptors } from './answer.ts'
import type { AccessRule, Args, Caller, Grant, InterfaceTable } from './table.ts'

type Found = readonly BoundInterface[] | undefined

/** Header flag NO_REPLY_EXPECTED of the D-Bus specification; replies carry it too. */
const noReplyExpected = 0x1

/** Of one sender. The broker bounds only calls that want a reply, and polkit may take as long as a user does. */
const maxPendingCalls = 1024

const introspectable = 'org.freedesktop.DBus.Introspectable'
const EBADMSG = 74
const nobody: Grant = { admin: false }

/** Answers method calls out of interface tables, worded as sd-bus words its own answers (spec/dbus.md 0.5). */
export class BusServer {
  readonly #connection: Pick<Connection, 'send'>
  readonly #authority: Authority
  readonly #driver: Pick<BusDriver, 'uid' | 'pin' | 'knownUid'>
  readonly #tree = new ObjectTree()
  /** How many calls of each sender wait for something. */
  readonly #pending = new Map<string, number>()

  constructor(options: {
    readonly connection: Pick<Connection, 'send'>
    readonly authority: Authority
    readonly driver: Pick<BusDriver, 'uid' | 'pin' | 'knownUid'>
  }) {
    this.#connection = options.connection
    this.#authority = options.authority
    this.#driver = options.driver
  }

  /** Puts one object at one path; more tables at a path are more interfaces of the object. */
  mount<T>(path: string, table: InterfaceTable<T>, target: T): void {
    this.#tree.mount(path, table, target)
  }

  /** Serves all paths below `prefix`. `find` gets what follows the prefix still escaped, `children` returns such labels. */
  mountFallback<T>(prefix: string, table: InterfaceTable<T>, find: Find<T>, children: Children): void {
    this.#tree.mountFallback(prefix, table, find, children)
  }

  /** Sends a signal to everybody. */
  emitSignal(path: string, interfaceName: string, member: string, signature: string, body: unknown[]): void {
    this.#connection.send({
      type: 4,
      flags: noReplyExpected,
      path,
      interface: interfaceName,
      member,
      signature,
      body,
      fds: []
    })
  }

  /**
   * Answers one method call, at once if nothing needs waiting for; else the promise is kept when the answer is sent. What
   * the call asks for may fail, this does not.
   */
  handle(message: BusMessage): void | Promise<void> {
    const caller = new BusCaller(message, this.#driver)
    let answer: MaybePromise<Answer>
    try {
      requireSound(message)
      if ((this.#pending.get(caller.name) ?? 0) >= maxPendingCalls) {
        throw new MachinedError('LimitsExceeded', 'Too many calls in progress.')
      }
      answer = this.#answer(message, caller)
      if (!(answer instanceof Promise)) {
        this.#reply(message, answer)
        return
      }
    } catch (error) {
      this.#replyError(message, error)
      return
    }
    return this.#answerLater(message, answer, caller)
  }

  async #answerLater(message: BusMessage, answer: Promise<Answer>, caller: BusCaller): Promise<void> {
    this.#count(caller.name, 1)
    try {
      this.#reply(message, await answer)
    } catch (error) {
      this.#replyError(message, error)
    } finally {
      this.#count(caller.name, -1)
      await caller.close()
    }
  }

  #count(sender: string, change: number): void {
    const pending = (this.#pending.get(sender) ?? 0) + change
    if (pending === 0) this.#pending.delete(sender)
    else this.#pending.set(sender, pending)
  }

  #answer(message: BusMessage, caller: Caller): MaybePromise<Answer> {
    if (message.interface === peerInterface) return answerPeer(message)
    const object = this.#tree.lookUp(message.path ?? '/', caller)
    return object instanceof Promise
      ? object.then((found) => this.#answerObject(message, caller, found))
      : this.#answerObject(message, caller, object)
  }

  #answerObject(message: BusMessage, caller: Caller, object: Found): MaybePromise<Answer> {
    const { interface: name, member = '' } = message
    if (member === 'Introspect' && (name === introspectable || name === undefined)) {
      return this.#introspect(message, object)
    }
    if (!object) throw unknownObject(message)
    for (const bound of object) {
      if (name !== undefined && bound.name !== name) continue
      const method = bound.methods.get(member)
      if (method) return this.#call(message, caller, bound, method)
    }
    if (name === undefined && (member === 'Ping' || member === 'GetMachineId')) return answerPeer(message)
    if (name === propertiesInterface || name === undefined) {
      const answer = answerProperties(message, caller, object)
      if (answer) return answer
    }
    throw new MachinedError('UnknownMethod', `Unknown method ${member} or interface ${name ?? '(null)'}.`)
  }

  #introspect(message: BusMessage, object: Found): MaybePromise<Answer> {
    return whenReady(this.#tree.children(message.path ?? '/'), (children: readonly string[] | undefined) => {
      if (!object && !children) throw unknownObject(message)
      if (message.signature !== '') throw new MachinedError('InvalidArgs', 'Expected no parameters')
      return {
        signature: 's',
        body: [
          nodeXml(
            (object ?? []).map(({ xml }) => xml),
            children ?? []
          )
        ]
      }
    })
  }

  #call(message: BusMessage, caller: Caller, bound: BoundInterface, method: BoundMethod): MaybePromise<Answer> {
    const { row, inSignature } = method
    if (message.signature !== inSignature) {
      throw new MachinedError(
        'InvalidArgs',
        `Invalid arguments '${message.signature}' to call ${bound.name}.${message.member ?? ''}(), expecting '${inSignature}'.`
      )
    }
    const { access } = row
    const { target } = bound
    const args = argsOf(message, method)
    if (access === 'anyone') return run(method, target, args, caller, nobody)
    return whenReady(access.rule(target, args, caller), (rule: AccessRule) => {
      const uid = this.#driver.knownUid(caller.name)
      const grant = uid === undefined ? undefined : grantByUid(rule, uid)
      if (grant) return run(method, target, args, caller, grant)
      const again = async (): Promise<[unknown, AccessRule]> => {
        const object = await this.#tree.lookUp(message.path ?? '/', caller)
        const found = object?.find(({ name }) => name === bound.name)
        if (!found) throw unknownObject(message)
        return [found.target, await access.rule(found.target, args, caller)]
      }
      return authorizeAgain(this.#authority, rule, caller, again).then(({ target: checked, grant: granted }) =>
        run(method, checked, args, caller, granted)
      )
    })
  }

  /** Throws for a result that does not fit its signature, which is a bug of the method. */
  #reply(message: BusMessage, { signature, body }: Answer): void {
    if ((message.flags & noReplyExpected) !== 0) {
      closeDescriptors(signature, body)
      return
    }
    this.#connection.send({
      type: 2,
      flags: noReplyExpected,
      destination: message.sender,
      replySerial: message.serial,
      signature,
      body: body as unknown[]
    })
  }

  #replyError(message: BusMessage, error: unknown): void {
    const { name, text } = errorReply(error)
    if ((message.flags & noReplyExpected) !== 0) return
    try {
      this.#connection.send({
        type: 3,
        flags: noReplyExpected,
        destination: message.sender,
        replySerial: message.serial,
        errorName: name,
        signature: 's',
        body: [text]
      })
    } catch (failure) {
      log.error({ err: failure }, 'Cannot send an error reply')
    }
  }
}

/**
 * Decodes the body now. Not every broker looks into bodies, so a malformed one is its sender's doing: the sender is told,
 * and nobody else suffers. Throws SystemError EBADMSG.
 */
function requireSound(message: BusMessage): void {
  try {
    requireDecodable(message)
  } catch (error) {
    if (error instanceof ProtocolError) throw systemError(EBADMSG, 'read')
    throw error
  }
}

function unknownObject(message: BusMessage): MachinedError {
  return new MachinedError('UnknownObject', `Unknown object '${message.path ?? ''}'.`)
}

function argsOf(message: BusMessage, method: BoundMethod): Args {
  const { body } = message
  const { names } = method
  const args: Record<string, unknown> = {}
  for (let index = 0; index < names.length; index++) args[names[index] as string] = body[index]
  return args
}

function run(method: BoundMethod, target: unknown, args: Args, caller: Caller, grant: Grant): MaybePromise<Answer> {
  const body = method.row.run(target, args, caller, grant)
  const signature = method.outSignature
  return body instanceof Promise ? body.then((ready) => ({ signature, body: ready })) : { signature, body }
}

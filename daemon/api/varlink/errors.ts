import { systemReply, varlinkReply, type VarlinkReply } from '../error-replies.ts'
import type { InterfaceTable } from './schema.ts'

/** A failure with its error as it goes over the wire. */
export class VarlinkError extends Error {
  readonly reply: VarlinkReply

  constructor(error: string, parameters?: VarlinkReply['parameters']) {
    super(error)
    this.reply = parameters === undefined ? { error } : { error, parameters }
  }
}

/** A parameter that is missing, wrong or not known. */
export function invalidParameter(parameter: string): VarlinkError {
  return new VarlinkError('org.varlink.service.InvalidParameter', { parameter })
}

/** There is no such method, or not such an interface. */
export function methodNotFound(method: string): VarlinkError {
  return new VarlinkError('org.varlink.service.MethodNotFound', { method })
}

/** The method has more than one reply to give, and the caller wants but one. */
export function expectedMore(): VarlinkError {
  return new VarlinkError('org.varlink.service.ExpectedMore')
}

/** An errno. */
export function systemFailure(errnoName: string): VarlinkError {
  const { error, parameters } = systemReply(errnoName)
  return new VarlinkError(error, parameters)
}

/** What goes over the wire for whatever a method of an interface failed with. */
export function replyOf<T>(error: unknown, table: InterfaceTable<T> | undefined): VarlinkReply {
  if (error instanceof VarlinkError) return error.reply
  const declares = (name: string): boolean =>
    table !== undefined && (Object.hasOwn(table.errors, name) || table.undeclared?.includes(name) === true)
  return varlinkReply(error, table?.name ?? '', declares)
}

import { constants as os } from 'node:os'
import { MachinedError, systemError } from '../base/errors.ts'
import { NETLINK_NETFILTER, RequestSocket } from './netlink-request.ts'
import { parseAttributes } from './rtnetlink.ts'

/** The message that ends a transaction of nf_tables(7). */
export const NEWGEN = 0x0a0f
const GETGEN = 0x0a10
/** What comes before the attributes of each message about rules. */
export const NFGENMSG_LENGTH = 4
const NFTA_GEN_ID = 1

/** A socket for requests about rules, of the network namespace that the thread is in. Throws NotSupported without nf_tables. */
export function openNetfilter(): RequestSocket {
  let socket: RequestSocket | undefined
  try {
    socket = new RequestSocket(NETLINK_NETFILTER)
    currentGeneration(socket)
    return socket
  } catch (error) {
    socket?.close()
    throw new MachinedError('NotSupported', 'The kernel has no nf_tables', { cause: error })
  }
}

/** The generation of the rules there are: each transaction has a greater one. Throws as RequestSocket.request does. */
export function currentGeneration(socket: RequestSocket): number {
  const [answer] = socket.request('Failed to ask for the generation of rules', GETGEN, 0, Buffer.alloc(NFGENMSG_LENGTH))
  if (answer?.type !== NEWGEN) throw systemError(os.errno.EBADMSG, 'netlink')
  return generationOf(answer.body)
}

/** The generation that a NEWGEN tells of. Throws EBADMSG. */
export function generationOf(body: Buffer): number {
  const id = parseAttributes(body.subarray(NFGENMSG_LENGTH)).get(NFTA_GEN_ID)
  if (id?.length !== 4) throw systemError(os.errno.EBADMSG, 'netlink')
  return id.readUInt32BE()
}

/** Whether one generation came after another; the numbers begin anew after the last. */
export function isLater(one: number, other: number): boolean {
  return ((one - other) | 0) > 0
}

import { MachinedError } from '../base/errors.ts'
import { NETLINK_NETFILTER, RequestSocket } from './netlink-request.ts'

/** The message that ends a transaction of nf_tables(7). */
export const NEWGEN = 0x0a0f
const GETGEN = 0x0a10
/** What comes before the attributes of each message about rules. */
export const NFGENMSG_LENGTH = 4

/** A socket for requests about rules and flows, of the network namespace that the thread is in. Throws NotSupported without nf_tables. */
export function openNetfilter(): RequestSocket {
  let socket: RequestSocket | undefined
  try {
    socket = new RequestSocket(NETLINK_NETFILTER)
    socket.request('Failed to ask for the generation of rules', GETGEN, 0, Buffer.alloc(NFGENMSG_LENGTH))
    return socket
  } catch (error) {
    socket?.close()
    throw new MachinedError('NotSupported', 'The kernel has no nf_tables', { cause: error })
  }
}

import { createRequire } from 'node:module'
import type * as Netlink from 'netlink'

export type { ifla as LinkTypes, rt as RouteTypes, NetlinkSocket as PackageSocket } from 'netlink'

const require = createRequire(import.meta.url)
let loaded: typeof Netlink | undefined

/**
 * The package `netlink`: a codec for rtnetlink(7) messages, and sockets for events. Loaded on first use, as that takes
 * 20 ms and a host without networks of ours never needs it.
 */
export function netlinkPackage(): typeof Netlink {
  loaded ??= require('netlink') as typeof Netlink
  return loaded
}

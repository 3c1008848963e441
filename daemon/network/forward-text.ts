import { MachinedError } from '../base/errors.ts'
import { formatIp, parseIp } from '../base/prefix.ts'
import type { Forward } from './firewall-state.ts'

const LISTEN = /^(?:(tcp|udp):)?(?:(\[[\da-fA-F:.]+\]|[\d.]+):)?(\d{1,5})(?:-(\d{1,5}))?$/

/**
 * Reads `[tcp|udp:][ADDRESS:]PORT[-PORT]` and a target port, as forwards are written (networking.md 7.2); an empty target
 * means the same port. `file` is the one that they are written in, if any. Throws InvalidArgs.
 */
export function readForward(machine: string, listen: string, target: string, file?: string): Forward {
  const [, protocol = 'tcp', host, from = '', to = from] = LISTEN.exec(listen) ?? []
  const [first, last] = [readPort(from), readPort(to)]
  const address = host === undefined ? undefined : parseIp(host.replace(/^\[|\]$/g, ''))
  if (first === undefined || last === undefined || last < first || (host !== undefined && address === undefined)) {
    throw new MachinedError('InvalidArgs', `Invalid port to listen on '${listen}'`)
  }
  const to4 = target === '' ? first : readPort(target)
  if (to4 === undefined || to4 + last - first > 65_535) {
    throw new MachinedError('InvalidArgs', `Invalid target port '${target}'`)
  }
  return { machine, protocol: protocol === 'udp' ? 'udp' : 'tcp', address, first, last, target: to4, file }
}

/** As readForward reads it. */
export function listenText({ protocol, address, first, last }: Omit<Forward, 'machine' | 'target' | 'file'>): string {
  const host = address === undefined ? '' : address.length === 16 ? `[${formatIp(address)}]:` : `${formatIp(address)}:`
  return `${protocol}:${host}${first}${last === first ? '' : `-${last}`}`
}

function readPort(text: string): number | undefined {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0
  return port > 0 && port < 65_536 ? port : undefined
}

import { parseIp, parsePrefix, type Prefix } from '../base/prefix.ts'
import { readFileBounded } from '../linux/file.ts'
import { networkFiles, valuesIn } from './networkd-files.ts'

/** Where the name servers of the host are, whoever asks them. */
const RESOLVER_FILES = ['/etc/resolv.conf', '/run/systemd/resolve/resolv.conf']
const LIMIT = 64 * 1024

/**
 * The networks that the host is configured for, whether or not a link has them at the time: those of addresses in networkd's
 * files, and the name servers (networking.md 7.3).
 */
export function configuredNetworks(): Prefix[] {
  const addresses = networkFiles().flatMap((path) => valuesIn(path, 'Address'))
  const servers = RESOLVER_FILES.flatMap(nameServers)
  return [...addresses, ...servers].flatMap((text) => {
    const prefix = parsePrefix(text) ?? hostPrefix(text)
    // Of one that is all zeros networkd chooses the network itself.
    return prefix?.address.some((byte) => byte !== 0) === true ? [prefix] : []
  })
}

function hostPrefix(text: string): Prefix | undefined {
  const address = parseIp(text)
  return address && { address, length: address.length * 8 }
}

/** See resolv.conf(5). */
function nameServers(path: string): string[] {
  try {
    const lines = readFileBounded(path, LIMIT).matchAll(/^nameserver\s+([^\s%]+)/gm)
    return Array.from(lines, ([, address = '']) => address)
  } catch {
    return []
  }
}

/** An IP network, or an address within one: 4 or 16 bytes in network order and the length of the network's part. */
export interface Prefix {
  readonly address: Buffer
  readonly length: number
}

/** Reads `192.0.2.1` or `2001:db8::1`; undefined for anything else. */
export function parseIp(text: string): Buffer | undefined {
  return text.includes(':') ? parseIpv6(text) : parseIpv4(text)
}

function parseIpv4(text: string): Buffer | undefined {
  const parts = text.split('.')
  const isByte = (part: string): boolean => /^(?:0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256
  return parts.length === 4 && parts.every(isByte) ? Buffer.from(parts.map(Number)) : undefined
}

function parseIpv6(text: string): Buffer | undefined {
  const [head = '', tail, ...more] = text.split('::')
  const before = bytesOfGroups(head, tail === undefined)
  const after = bytesOfGroups(tail ?? '', true)
  if (before === undefined || after === undefined || more.length > 0) return undefined
  const missing = 16 - before.length - after.length
  if (tail === undefined ? missing !== 0 : missing < 2) return undefined
  return Buffer.concat([before, Buffer.alloc(missing), after])
}

/** Groups of four hexadecimal digits; the last may be an IPv4 address where the address ends. */
function bytesOfGroups(text: string, atEnd: boolean): Buffer | undefined {
  if (text === '') return Buffer.alloc(0)
  const bytes: number[] = []
  const groups = text.split(':')
  for (const [index, group] of groups.entries()) {
    const embedded = atEnd && index === groups.length - 1 ? parseIpv4(group) : undefined
    if (embedded !== undefined) bytes.push(...embedded)
    else if (/^[\da-fA-F]{1,4}$/.test(group)) bytes.push(parseInt(group, 16) >> 8, parseInt(group, 16) & 0xff)
    else return undefined
  }
  return Buffer.from(bytes)
}

/** As people write it, IPv6 in the form of RFC 5952. */
export function formatIp(address: Buffer): string {
  if (address.length === 4) return address.join('.')
  const groups = Array.from({ length: 8 }, (_, index) => address.readUInt16BE(index * 2).toString(16))
  const text = groups.join(':')
  const zeros = [...text.matchAll(/\b0(?::0\b)+/g)].sort((a, b) => b[0].length - a[0].length)[0]
  if (zeros === undefined) return text
  const [before, after] = [text.slice(0, zeros.index), text.slice(zeros.index + zeros[0].length)]
  return `${before.replace(/:$/, '')}::${after.replace(/^:/, '')}`
}

/** Reads `ADDRESS/LENGTH`; undefined for anything else. The address may have bits beyond the network's. */
export function parsePrefix(text: string): Prefix | undefined {
  const [ip = '', bits = '', ...rest] = text.split('/')
  const address = parseIp(ip)
  if (address === undefined || rest.length > 0 || !/^\d{1,3}$/.test(bits)) return undefined
  return Number(bits) > address.length * 8 ? undefined : { address, length: Number(bits) }
}

export function formatPrefix({ address, length }: Prefix): string {
  return `${formatIp(address)}/${length}`
}

/** The network without an address in it: all other bits zero. */
export function networkOf({ address, length }: Prefix): Prefix {
  return {
    address: fromNumber((toNumber(address) >> hostBits(address, length)) << hostBits(address, length), address.length),
    length
  }
}

/** The address that many steps after the first of the network. */
export function addressAt(network: Prefix, offset: number | bigint): Buffer {
  return fromNumber(toNumber(networkOf(network).address) + BigInt(offset), network.address.length)
}

/** How many steps the address is after the first of the network; undefined when it is not in there. */
export function offsetIn(network: Prefix, address: Buffer): bigint | undefined {
  if (address.length !== network.address.length) return undefined
  const offset = toNumber(address) - toNumber(networkOf(network).address)
  return offset >= 0n && offset < 1n << hostBits(address, network.length) ? offset : undefined
}

/** Whether two networks have an address in common. */
export function overlap(a: Prefix, b: Prefix): boolean {
  const wider = a.length <= b.length ? a : b
  return offsetIn(wider, wider === a ? b.address : a.address) !== undefined
}

function hostBits(address: Buffer, length: number): bigint {
  return BigInt(address.length * 8 - length)
}

function toNumber(address: Buffer): bigint {
  return BigInt(`0x${address.toString('hex')}`)
}

function fromNumber(value: bigint, bytes: number): Buffer {
  return Buffer.from(
    value
      .toString(16)
      .padStart(bytes * 2, '0')
      .slice(-bytes * 2),
    'hex'
  )
}

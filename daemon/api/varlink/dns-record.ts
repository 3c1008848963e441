import type { Output } from './schema.ts'

const CLASS_IN = 1
export const TYPE_A = 1
export const TYPE_AAAA = 28

/** An address record of a name as resolved takes it: taken apart, and as on the DNS wire. Its lifetime is 0, nobody keeps it. */
export function addressRecord(name: string, address: Buffer): Output {
  const type = address.length === 4 ? TYPE_A : TYPE_AAAA
  return {
    rr: { key: { class: CLASS_IN, type, name }, address: [...address] },
    raw: wireFormat(name, type, address).toString('base64')
  }
}

/** RFC 1035, 3.2.1: owner, type, class, TTL, and the data behind its length. */
function wireFormat(name: string, type: number, data: Buffer): Buffer {
  const labels = name.split('.').map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label, 'latin1')]))
  const header = Buffer.alloc(10)
  header.writeUInt16BE(type, 0)
  header.writeUInt16BE(CLASS_IN, 2)
  header.writeUInt16BE(data.length, 8)
  return Buffer.concat([...labels, Buffer.of(0), header, data])
}

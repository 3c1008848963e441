const MASK = (1n << 64n) - 1n

/** SipHash-2-4 of data under a key of 16 bytes: the hash that systemd derives names and addresses by. */
export function siphash24(key: Buffer, data: Buffer): bigint {
  const [k0, k1] = [key.readBigUInt64LE(0), key.readBigUInt64LE(8)]
  let [v0, v1] = [0x736f6d6570736575n ^ k0, 0x646f72616e646f6dn ^ k1]
  let [v2, v3] = [0x6c7967656e657261n ^ k0, 0x7465646279746573n ^ k1]
  const round = (): void => {
    v0 = (v0 + v1) & MASK
    v1 = rotate(v1, 13n) ^ v0
    v0 = rotate(v0, 32n)
    v2 = (v2 + v3) & MASK
    v3 = rotate(v3, 16n) ^ v2
    v0 = (v0 + v3) & MASK
    v3 = rotate(v3, 21n) ^ v0
    v2 = (v2 + v1) & MASK
    v1 = rotate(v1, 17n) ^ v2
    v2 = rotate(v2, 32n)
  }
  const words = Math.floor(data.length / 8) + 1
  // The last word is filled up with zeros and ends in the length.
  const padded = Buffer.alloc(words * 8)
  data.copy(padded)
  padded.writeUInt8(data.length & 0xff, words * 8 - 1)
  for (let at = 0; at < padded.length; at += 8) {
    const word = padded.readBigUInt64LE(at)
    v3 ^= word
    round()
    round()
    v0 ^= word
  }
  v2 ^= 0xffn
  for (let turn = 0; turn < 4; turn++) round()
  return v0 ^ v1 ^ v2 ^ v3
}

function rotate(value: bigint, bits: bigint): bigint {
  return ((value << bits) | (value >> (64n - bits))) & MASK
}

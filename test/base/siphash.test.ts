import t from 'tap'
import { siphash24 } from '../../daemon/base/siphash.ts'

const key = Buffer.from(Array.from({ length: 16 }, (_, index) => index))

/** From the paper that describes the function, and its reference implementation. */
const vectors: readonly (readonly [length: number, hash: bigint])[] = [
  [0, 0x726fdb47dd0e0e31n],
  [1, 0x74f839c593dc67fdn],
  [8, 0x93f5f5799a932462n],
  [15, 0xa129ca6149be45e5n]
]

t.test('hashes are those of SipHash-2-4', (t) => {
  for (const [length, hash] of vectors) {
    t.equal(siphash24(key, Buffer.from(Array.from({ length }, (_, index) => index))), hash, String(length))
  }
  t.end()
})

import { btrfsRequest } from './btrfs.ts'
import { ioctl } from './libc.ts'

const SIZE = 4096
const SEARCH = btrfsRequest('both', 17, SIZE)
const KEY_SIZE = 104
const HEADER_SIZE = 32
const NR_ITEMS = 64
const MOST_ITEMS = 256
const LAST = 2n ** 64n - 1n

/** Where to look, in the order of btrfs' keys. A range is of what is wanted, both ends included. */
export interface SearchRange {
  readonly tree: bigint
  readonly object: readonly [from: bigint, to: bigint]
  readonly type: readonly [from: number, to: number]
}

/** An item of one of btrfs' trees. `data` is valid until the next one is asked for. */
export interface SearchItem {
  readonly object: bigint
  readonly type: number
  readonly offset: bigint
  readonly data: Buffer
}

/**
 * The items of a tree of the file system that `fd` is on. The kernel takes the range for a piece of its order, so that those
 * between the ends can be of other types; they are left out here. Throws ENOENT when there is no such tree.
 */
export function* searchTree(fd: number, { tree, object, type }: SearchRange): Generator<SearchItem> {
  const args = Buffer.alloc(SIZE)
  args.writeBigUInt64LE(tree, 0)
  args.writeBigUInt64LE(object[1], 16)
  args.writeBigUInt64LE(LAST, 32)
  args.writeBigUInt64LE(LAST, 48)
  args.writeUInt32LE(type[1], 60)
  for (let start: Position | undefined = { object: object[0], type: type[0], offset: 0n }; start !== undefined;) {
    args.writeBigUInt64LE(start.object, 8)
    args.writeUInt32LE(start.type, 56)
    args.writeBigUInt64LE(start.offset, 24)
    args.writeUInt32LE(MOST_ITEMS, NR_ITEMS)
    ioctl(fd, SEARCH, args)
    let last: Position | undefined
    for (const item of itemsOf(args)) {
      if (item.type >= type[0] && item.type <= type[1]) yield item
      last = { object: item.object, type: item.type, offset: item.offset }
    }
    start = last && after(last)
  }
}

interface Position {
  readonly object: bigint
  readonly type: number
  readonly offset: bigint
}

function* itemsOf(args: Buffer): Generator<SearchItem> {
  const count = args.readUInt32LE(NR_ITEMS)
  let at = KEY_SIZE
  for (let index = 0; index < count; index++) {
    const length = args.readUInt32LE(at + 28)
    yield {
      object: args.readBigUInt64LE(at + 8),
      offset: args.readBigUInt64LE(at + 16),
      type: args.readUInt32LE(at + 24),
      data: args.subarray(at + HEADER_SIZE, at + HEADER_SIZE + length)
    }
    at += HEADER_SIZE + length
  }
}

/** The next place in the order; undefined after the last. */
function after({ object, type, offset }: Position): Position | undefined {
  if (offset < LAST) return { object, type, offset: offset + 1n }
  if (type < 0xff) return { object, type: type + 1, offset: 0n }
  return object < LAST ? { object: object + 1n, type: 0, offset: 0n } : undefined
}

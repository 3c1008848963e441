/** What an image is made of (spec/dbus.md 8.5). `mstack` is a directory of mounts to be stacked, see systemd.mstack(7). */
export type ImageType = 'directory' | 'subvolume' | 'raw' | 'block' | 'mstack'

/** A size that nobody knows, or that is not limited. */
export const UNKNOWN_SIZE = 0xffff_ffff_ffff_ffffn

/** The image that is the host itself. */
export const HOST_IMAGE = '.host'

/** One machine image as it was found, with its attributes at that time (spec/dbus.md 8.5). */
export interface Image {
  readonly name: string
  readonly type: ImageType
  /** Where it is, all links resolved. */
  readonly path: string
  /** The entry of the search directory that it was found by, which may be a link to it; `/` for the host. */
  readonly entry: string
  readonly readOnly: boolean
  /** Microseconds since 1970, 0 if unknown. */
  readonly created: bigint
  /** Microseconds since 1970, 0 if unknown. */
  readonly modified: bigint
  /** Bytes, UNKNOWN_SIZE if unknown. */
  readonly usage: bigint
  readonly usageExclusive: bigint
  readonly limit: bigint
  readonly limitExclusive: bigint
  /** Whether its files belong to the UIDs that are set aside for images of unprivileged users. */
  readonly foreignOwned: boolean
}

/** Names are file names of at most 255 bytes, without control characters, and not those of temporary files. */
export function isValidImageName(name: string): boolean {
  if (name === '' || name === '.' || name === '..' || name.startsWith('.#')) return false
  // U+FFFD stands for bytes that are no UTF-8 where a name was read from a directory.
  return !/[/\x00-\x1f\x7f\ufffd]/.test(name) && Buffer.byteLength(name) <= 255
}

/** Whether it came with the operating system, which alone may change it. */
export function isVendor({ path }: Image): boolean {
  return path === '/usr' || path.startsWith('/usr/')
}

/** Whether it is the host itself, by whatever name. */
export function isHost({ name, path }: Image): boolean {
  return name === HOST_IMAGE || path === '/'
}

/** Whether lists leave it out; such images are templates, and read-only. */
export function isHidden({ name }: Image): boolean {
  return name.startsWith('.')
}

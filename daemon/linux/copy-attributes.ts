import { isSystemError } from '../base/errors.ts'
import { getAttributeOf, listAttributes, setAttributeOf } from './file-at.ts'

/** XATTR_LIST_MAX and XATTR_SIZE_MAX of the kernel. */
const SIZE = 64 * 1024

/** Whether an attribute is not there, or the file system has none. */
export function isAbsence(error: unknown): boolean {
  return isSystemError(error) && ['EOPNOTSUPP', 'ENOTSUP', 'ENODATA'].includes(error.code)
}

/** Copies extended attributes from file to file, where both file systems have such. */
export class AttributeCopier {
  readonly #prefix: Buffer
  readonly #names = Buffer.allocUnsafeSlow(SIZE)
  readonly #value = Buffer.allocUnsafeSlow(SIZE)

  /** Either those that are users' own, or those of all kinds: access control lists, capabilities and so on. */
  constructor(which: 'user' | 'all') {
    this.#prefix = Buffer.from(which === 'user' ? 'user.' : '')
  }

  copy(input: number, output: number): void {
    const length = this.#list(input)
    for (let at = 0; at < length;) {
      const end = this.#names.indexOf(0, at) + 1
      const name = this.#names.subarray(at, end)
      if (name.subarray(0, this.#prefix.length).equals(this.#prefix)) this.#copyOne(input, output, name)
      at = end
    }
  }

  #list(input: number): number {
    try {
      return listAttributes(input, this.#names)
    } catch (error) {
      if (isAbsence(error)) return 0
      throw error
    }
  }

  #copyOne(input: number, output: number, name: Buffer): void {
    try {
      setAttributeOf(output, name, this.#value, getAttributeOf(input, name, this.#value))
    } catch (error) {
      if (!isAbsence(error)) throw error
    }
  }
}

import { isSystemError } from '../base/errors.ts'
import { getAttributeOf, listAttributes, setAttributeOf } from './file-at.ts'

/** XATTR_LIST_MAX and XATTR_SIZE_MAX of the kernel. */
const SIZE = 64 * 1024
const prefix = Buffer.from('user.')

const isAbsence = (error: unknown): boolean =>
  isSystemError(error) && ['EOPNOTSUPP', 'ENOTSUP', 'ENODATA'].includes(error.code)

/** Copies the extended attributes that are users' own, from file to file, where both file systems have such. */
export class AttributeCopier {
  readonly #names = Buffer.allocUnsafeSlow(SIZE)
  readonly #value = Buffer.allocUnsafeSlow(SIZE)

  copy(input: number, output: number): void {
    try {
      const length = listAttributes(input, this.#names)
      for (let at = 0; at < length; at = this.#names.indexOf(0, at) + 1) {
        if (this.#names.compare(prefix, 0, prefix.length, at, at + prefix.length) !== 0) continue
        const name = this.#names.subarray(at, this.#names.indexOf(0, at) + 1)
        setAttributeOf(output, name, this.#value, getAttributeOf(input, name, this.#value))
      }
    } catch (error) {
      if (!isAbsence(error)) throw error
    }
  }
}

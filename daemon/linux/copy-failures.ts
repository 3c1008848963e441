import { isSystemError, systemError } from '../base/errors.ts'

/**
 * What becomes of the failures of a copy. Some end it. With an image all do, but that of a file that is there no more, as
 * happens in one that runs. Elsewhere the rest of the tree is copied, what exists already is left alone, and the first failure
 * is told in the end (spec/dbus.md 7.9).
 */
export class CopyFailures {
  readonly #isImage: boolean
  #first: Error | undefined

  constructor(isImage: boolean) {
    this.#isImage = isImage
  }

  /** Takes note of one, with the path of its file. Throws it when there is no point in going on. */
  add(error: unknown, describePath: () => string): void {
    if (isFinal(error)) throw error
    const { code, errno, syscall } = error as Error & { code: string; errno: number; syscall: string }
    if (this.#isImage) {
      if (code !== 'ENOENT') throw error
    } else if (code !== 'EEXIST') this.#first ??= systemError(errno, syscall, describePath())
  }

  /** Throws the first one, if any. */
  throwFirst(): void {
    if (this.#first !== undefined) throw this.#first
  }
}

function isFinal(error: unknown): boolean {
  return !isSystemError(error) || ['ECANCELED', 'ENOSPC', 'EDQUOT'].includes(error.code)
}

import { log } from '../../base/log.ts'
import { closeFd } from '../../linux/libc.ts'

/** What a method call is answered with. */
export interface Answer {
  readonly signature: string
  readonly body: readonly unknown[]
}

/** The answer without results. */
export const emptyAnswer: Answer = { signature: '', body: [] }

/** Closes the descriptors of an answer that nobody wants; only whole results are descriptors here. */
export function closeDescriptors(signature: string, body: readonly unknown[]): void {
  if (!signature.startsWith('h')) return
  for (const [index, value] of body.entries()) {
    if (signature[index] !== 'h' || typeof value !== 'number') continue
    try {
      closeFd(value)
    } catch (error) {
      log.debug({ err: error }, 'Cannot close a descriptor of a reply')
    }
  }
}

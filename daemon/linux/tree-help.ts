import type { MessagePort } from 'node:worker_threads'
import { describeFailure, type Failure } from './thread-failure.ts'

/* What the two threads that work on a tree (tree-helper.ts) tell each other, and the loop of the second one. */

/** How many directories the second thread can have: the one it works on, and the next, so that it need not wait for it. */
export const PLACES = 2
/** How many descriptors go with each at most. */
const DESCRIPTORS = 2

/**
 * Where in their memory, counted in words of 32 bits, is what: whether the second thread is there, how many directories were
 * given and done, and the descriptors of the last ones.
 */
export const READY = 0
export const OFFERED = 1
export const DONE = 2
const PLACE = 3
export const SIZE = 4 * (PLACE + PLACES * DESCRIPTORS)

/** What OFFERED is when the second thread is not needed any more. */
export const OVER = -1

/** How they reach each other: the memory, and a port for what the second one fails with. */
export interface Meeting {
  readonly memory: SharedArrayBuffer
  readonly port: MessagePort
}

/** What the second thread failed with in a directory, counted from 0. */
export interface HelpFailure {
  readonly at: number
  readonly failure: Failure
}

/** Where in their memory the descriptors of a directory are. */
export function placeOf(directory: number): number {
  return PLACE + (directory % PLACES) * DESCRIPTORS
}

/** Does with the descriptors what the first thread wants, each time it gives some, until it has no more. */
export function help({ memory, port }: Meeting, work: (first: number, second: number) => void): void {
  const words = new Int32Array(memory)
  Atomics.store(words, READY, 1)
  for (let done = 0; ; done++) {
    Atomics.store(words, DONE, done)
    Atomics.notify(words, DONE)
    Atomics.wait(words, OFFERED, done)
    if (Atomics.load(words, OFFERED) === OVER) return
    const place = placeOf(done)
    try {
      work(words[place] ?? -1, words[place + 1] ?? -1)
    } catch (error) {
      const told: HelpFailure = { at: done, failure: describeFailure(error) }
      port.postMessage(told)
    }
  }
}

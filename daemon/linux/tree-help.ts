import type { MessagePort } from 'node:worker_threads'
import { describeFailure } from './thread-failure.ts'

/* What the two threads that work on a tree (tree-helper.ts) tell each other, and the loop of the second one. */

/** Where in their memory, counted in words of 32 bits, is what. */
export const STATE = 0
export const GIVEN = 1
export const SIZE = 4 * 3

/** What the second thread does. */
export const STATES = { starting: 0, idle: 1, busy: 2, over: 3 } as const

/** How they reach each other: the memory, and a port for what the second one fails with. */
export interface Meeting {
  readonly memory: SharedArrayBuffer
  readonly port: MessagePort
}

/** Does with the descriptors what the first thread wants, each time it gives some, until it has no more. */
export function help({ memory, port }: Meeting, work: (first: number, second: number) => void): void {
  const words = new Int32Array(memory)
  for (let before: number = STATES.starting; turn(words, before, STATES.idle); before = STATES.busy) {
    Atomics.wait(words, STATE, STATES.idle)
    if (Atomics.load(words, STATE) === STATES.over) return
    try {
      work(words[GIVEN] ?? -1, words[GIVEN + 1] ?? -1)
    } catch (error) {
      port.postMessage(describeFailure(error))
    }
  }
}

/** False when it has become something else meanwhile. */
function turn(words: Int32Array, from: number, to: number): boolean {
  if (Atomics.compareExchange(words, STATE, from, to) !== from) return false
  Atomics.notify(words, STATE)
  return true
}

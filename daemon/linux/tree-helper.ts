import { availableParallelism } from 'node:os'
import { extname } from 'node:path'
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads'
import { errorOfFailure, type Failure } from './thread-failure.ts'
import { reportProgress } from './thread-jobs.ts'
import { GIVEN, type Meeting, SIZE, STATE, STATES } from './tree-help.ts'
import type { TreeTask } from './tree-thread.ts'

/** A second thread is not worth starting before a tree has proved to take long. */
const START_AFTER_MS = 5
/** How often what only the other thread does is reported as progress, when we wait for it. */
const REPORT_MS = 200
const resourceLimits = { maxYoungGenerationSizeMb: 1, stackSizeMb: 4 }

/** A directory that is worked on. */
export interface WorkDirectory {
  /** What the other thread gets of it: at most two. */
  readonly descriptors: readonly number[]
  /** Does what comes last. */
  finish(): void
  /** Closes the descriptors. */
  close(): void
}

/**
 * A second thread for a tree: it sees to all but directories in the directories that it is given, while the first one goes on
 * with the directories in there. Thus neither waits for more than the files of one directory, however the tree is shaped.
 */
export class TreeHelper {
  readonly #describeTask: () => TreeTask
  readonly #began = performance.now()
  readonly #memory = new SharedArrayBuffer(SIZE)
  readonly #words = new Int32Array(this.#memory)
  #mayStart = availableParallelism() > 1
  #port: MessagePort | undefined
  #given: WorkDirectory | undefined
  /** The one given, once all but the other thread's part is done in it. */
  #left: WorkDirectory | undefined

  /** `describeTask` is called when the thread is started, if ever; it may throw when there is no way to. */
  constructor(describeTask: () => TreeTask) {
    this.#describeTask = describeTask
  }

  /** Whether the other thread sees to the files in there now, having nothing else to do. Throws what it failed with before. */
  offer(directory: WorkDirectory): boolean {
    if (this.#mayStart && performance.now() - this.#began > START_AFTER_MS) this.#start()
    if (Atomics.load(this.#words, STATE) !== STATES.idle) return false
    this.wait()
    directory.descriptors.forEach((fd, at) => (this.#words[GIVEN + at] = fd))
    this.#given = directory
    this.#turn(STATES.busy)
    return true
  }

  /** Finishes and closes a directory, now or when the other thread is done there. */
  leave(directory: WorkDirectory): void {
    if (directory === this.#given && this.#isBusy) this.#left = directory
    else end(directory)
  }

  /** Closes a directory that something went wrong in. */
  abandon(directory: WorkDirectory): void {
    if (directory === this.#given) this.#waitTillIdle()
    directory.close()
  }

  /** Waits for the other thread. Throws what it failed with. */
  wait(): void {
    this.#waitTillIdle()
    const left = this.#left
    this.#given = this.#left = undefined
    if (left !== undefined) end(left)
    const answer = this.#port && (receiveMessageOnPort(this.#port) as { message: Failure } | undefined)
    if (answer !== undefined) throw errorOfFailure(answer.message)
  }

  /** Ends the other thread. When wait() was not called before, something has failed, and what fails now does not matter. */
  [Symbol.dispose](): void {
    try {
      this.wait()
    } catch {
      // See above.
    }
    this.#turn(STATES.over)
    this.#port?.close()
  }

  get #isBusy(): boolean {
    return Atomics.load(this.#words, STATE) === STATES.busy
  }

  #start(): void {
    this.#mayStart = false
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    const workerData: TreeTask & Meeting = { ...this.#describeTask(), memory: this.#memory, port: port2 }
    const entry = new URL(`./tree-thread${extname(import.meta.url)}`, import.meta.url)
    new Worker(entry, { workerData, transferList: [port2], trackUnmanagedFds: false, resourceLimits }).unref()
  }

  #waitTillIdle(): void {
    while (this.#isBusy) {
      if (Atomics.wait(this.#words, STATE, STATES.busy, REPORT_MS) === 'timed-out') reportProgress()
    }
  }

  #turn(state: number): void {
    Atomics.store(this.#words, STATE, state)
    Atomics.notify(this.#words, STATE)
  }
}

function end(directory: WorkDirectory): void {
  try {
    directory.finish()
  } finally {
    directory.close()
  }
}

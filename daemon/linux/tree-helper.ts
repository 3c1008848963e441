import { availableParallelism } from 'node:os'
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import { Companion } from './companion.ts'
import { errorOfFailure, type Failure } from './thread-failure.ts'
import { reportProgress } from './thread-jobs.ts'
import { DONE, type HelpFailure, type Meeting, OFFERED, OVER, placeOf, PLACES, READY, SIZE } from './tree-help.ts'
import type { TreeTask } from './tree-thread.ts'

/** A thread is not worth starting before a tree has proved to take long. */
const START_AFTER_MS = 5
/** How often what only the other thread does is reported as progress, when we wait for it. */
const REPORT_MS = 200

const second = new Companion('tree-thread')
const isWorthIt = availableParallelism() > 1

/** Starts the second thread, so that it need not be waited for when a tree proves to take long. */
export function prepareHelp(): void {
  if (isWorthIt) second.prepare()
}

/** A directory that is worked on. */
export interface WorkDirectory {
  /** What the other thread gets of it: at most two. */
  readonly descriptors: readonly number[]
  /** Does what comes last. */
  finish(): void
  /** Closes the descriptors. */
  close(): void
  /** Learns what failed in there while others were worked on, of a file the other thread or finish(). Throws what ends the work. */
  failed(error: unknown): void
}

/** A directory that the other thread was given. */
interface GivenDirectory {
  readonly directory: WorkDirectory
  /** Whether all but the other thread's part is done in it. */
  isLeft: boolean
  /** What the other thread failed with there. */
  failure?: Failure
}

/**
 * A second thread for a tree: it sees to all but directories in the directories that it is given, while the first one goes on
 * with the directories in there. Thus neither waits for more than the files of two directories, however the tree is shaped.
 */
export class TreeHelper {
  readonly #describeTask: () => TreeTask
  readonly #began = performance.now()
  readonly #memory = new SharedArrayBuffer(SIZE)
  readonly #words = new Int32Array(this.#memory)
  #mayStart = isWorthIt
  #port: MessagePort | undefined
  /** Those that the other thread has not done, as far as we know, the oldest first. */
  readonly #given: GivenDirectory[] = []
  #offered = 0

  /** `describeTask` is called when the thread is started, if ever; it may throw when there is no way to. */
  constructor(describeTask: () => TreeTask) {
    this.#describeTask = describeTask
  }

  /** Whether the other thread sees to the files in there, having little else to do. Throws what failed() of others throws. */
  offer(directory: WorkDirectory): boolean {
    if (this.#mayStart && (second.isThere || performance.now() - this.#began > START_AFTER_MS)) this.#start()
    this.#settle()
    if (Atomics.load(this.#words, READY) === 0 || this.#given.length === PLACES) return false
    this.#words.set(directory.descriptors, placeOf(this.#offered))
    this.#given.push({ directory, isLeft: false })
    this.#tell(++this.#offered)
    return true
  }

  /** Finishes and closes a directory, now or when the other thread is done there. */
  leave(directory: WorkDirectory): void {
    const given = this.#given.find((given) => given.directory === directory)
    if (given === undefined) end(directory)
    else given.isLeft = true
  }

  /** Closes a directory that something went wrong in. */
  abandon(directory: WorkDirectory): void {
    const at = this.#given.findIndex((given) => given.directory === directory)
    if (at !== -1) this.#waitFor(this.#first + at + 1)
    directory.close()
  }

  /** Waits for the other thread. Throws what failed() throws. */
  wait(): void {
    this.#waitFor(this.#offered)
    this.#settle()
  }

  /** Lets the other thread go. When wait() was not called before, something has failed, and what fails now does not matter. */
  [Symbol.dispose](): void {
    this.#waitFor(this.#offered)
    for (const { directory, isLeft } of this.#given.splice(0)) if (isLeft) directory.close()
    this.#tell(OVER)
    this.#port?.close()
  }

  /** The number of the oldest one given. */
  get #first(): number {
    return this.#offered - this.#given.length
  }

  #start(): void {
    this.#mayStart = false
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    const task: TreeTask & Meeting = { ...this.#describeTask(), memory: this.#memory, port: port2 }
    second.post(task, [port2])
  }

  /** Waits till so many are done. */
  #waitFor(count: number): void {
    for (;;) {
      const done = Atomics.load(this.#words, DONE)
      if (done >= count) return
      if (Atomics.wait(this.#words, DONE, done, REPORT_MS) === 'timed-out') reportProgress()
    }
  }

  /** Ends those that are done. */
  #settle(): void {
    const done = Atomics.load(this.#words, DONE)
    this.#receiveFailures()
    while (this.#first < done) {
      const { directory, isLeft, failure } = this.#given.shift() as GivenDirectory
      if (isLeft) endOrTell(directory)
      if (failure !== undefined) directory.failed(errorOfFailure(failure))
    }
  }

  #receiveFailures(): void {
    if (this.#port === undefined) return
    let received
    while ((received = receiveMessageOnPort(this.#port) as { message: HelpFailure } | undefined) !== undefined) {
      const { at, failure } = received.message
      const given = this.#given[at - this.#first]
      if (given !== undefined) given.failure = failure
    }
  }

  #tell(offered: number): void {
    Atomics.store(this.#words, OFFERED, offered)
    Atomics.notify(this.#words, OFFERED)
  }
}

function endOrTell(directory: WorkDirectory): void {
  try {
    end(directory)
  } catch (error) {
    directory.failed(error)
  }
}

function end(directory: WorkDirectory): void {
  try {
    directory.finish()
  } finally {
    directory.close()
  }
}

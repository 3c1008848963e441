import { constants as os } from 'node:os'
import { Worker } from 'node:worker_threads'
import { compileEarly } from '../base/early-compilation.ts'
import { systemError } from '../base/errors.ts'
import { type Answer, type Job, PROGRESS, READY, type Request } from './thread-jobs.ts'
import { errorOfFailure } from './thread-failure.ts'

/** How long a thread without work is kept; starting one takes 30 ms. */
const KEEP_MS = 10_000
/** Little garbage is let pile up: what is copied does not go through the heap. The stack is for the deepest tree. */
const resourceLimits = { maxYoungGenerationSizeMb: 1, stackSizeMb: 4 }

/** How many jobs may hang, each of which keeps its thread. */
const MOST_HANGING = 32

/** How long a job is waited for. */
export interface Patience {
  /**
   * Milliseconds without progress, once its thread is there, after which it hangs. It may come to an end nevertheless, which
   * nobody learns then.
   */
  readonly ms: number
  /** What it is about: while one hangs, others about the same are refused. */
  readonly subject: string
  /** Something that is more once the job has come further. */
  readonly progress?: () => number
}

/** How a job is done. */
export interface JobOptions {
  /** Called when the job says that it has come further. */
  readonly moved?: () => void
  /** Without it, it is waited for as long as it takes. */
  readonly patience?: Patience
}

/**
 * Threads that do jobs which take long or wait. Each job that is under way has one for itself, since one that waits for a file
 * system can do nothing else; how many there are is thus up to who asks (base/operations.ts).
 */
export class JobThreads<J extends Readonly<Record<keyof J, Job>>> {
  readonly #entry: URL
  readonly #idle: Worker[] = []
  readonly #timers = new Map<Worker, NodeJS.Timeout>()
  /** Threads that are not waited for any more, with what they hang at. */
  readonly #hanging = new Map<Worker, string>()

  /** `entry` is a module that serves the jobs (thread-jobs.ts). */
  constructor(entry: URL) {
    this.#entry = entry
  }

  /** Does a job. Throws what the job throws, ETIMEDOUT when it hangs, EBUSY where another does, or while too many do. */
  async run<K extends keyof J>(
    job: K,
    args: Parameters<J[K]>[0],
    { moved, patience }: JobOptions = {}
  ): Promise<ReturnType<J[K]>> {
    if (patience !== undefined) this.#requireAnswers(patience)
    const idle = this.#takeIdle()
    const worker = idle ?? this.#start()
    let stopWaiting = (): void => undefined
    const result = await new Promise<unknown>((resolve, reject) => {
      worker.on('message', (answer: Answer | typeof PROGRESS | typeof READY) => {
        if (answer === READY) {
          wait()
          return
        }
        if (answer === PROGRESS) {
          moved?.()
          return
        }
        stopWaiting()
        worker.removeAllListeners('message').removeAllListeners('error')
        this.#keep(worker)
        if ('failure' in answer) reject(errorOfFailure(answer.failure))
        else resolve(answer.result)
      })
      // The thread is over then.
      worker.once('error', reject)
      const wait = (): void => {
        if (patience === undefined) return
        stopWaiting = whenStill(patience, () => {
          this.#hanging.set(worker, patience.subject)
          worker.unref()
          reject(systemError(os.errno.ETIMEDOUT, String(job), patience.subject))
        })
      }
      // A host that is busy enough takes seconds to start one.
      if (idle !== undefined) wait()
      const request: Request = { job: String(job), args }
      worker.postMessage(request)
    })
    return result as ReturnType<J[K]>
  }

  /** Ends the threads that have no work. */
  close(): void {
    for (const worker of this.#idle.splice(0)) this.#end(worker)
  }

  #requireAnswers({ subject }: Patience): void {
    const isFull = this.#hanging.size >= MOST_HANGING
    if (isFull || [...this.#hanging.values()].includes(subject)) throw systemError(os.errno.EBUSY, 'begin', subject)
  }

  #takeIdle(): Worker | undefined {
    const worker = this.#idle.pop()
    if (worker === undefined) return undefined
    clearTimeout(this.#timers.get(worker))
    worker.ref()
    return worker
  }

  #start(): Worker {
    // What takes a thread is often done for each of thousands of files.
    compileEarly()
    // Descriptors go from thread to thread here.
    return new Worker(this.#entry, { trackUnmanagedFds: false, resourceLimits })
  }

  /** One is kept for a while, as jobs often come one after the other. */
  #keep(worker: Worker): void {
    if (this.#hanging.delete(worker) || this.#idle.length > 0) {
      this.#end(worker)
      return
    }
    // Only a thread whose answer is awaited keeps the process alive.
    worker.unref()
    this.#idle.push(worker)
    const timer = setTimeout(() => {
      this.#idle.splice(this.#idle.indexOf(worker), 1)
      this.#end(worker)
    }, KEEP_MS)
    this.#timers.set(worker, timer.unref())
  }

  #end(worker: Worker): void {
    clearTimeout(this.#timers.get(worker))
    this.#timers.delete(worker)
    void worker.terminate()
  }
}

/** Calls `tell` once there was no progress for so long; gives what keeps it from that. */
function whenStill({ ms, progress }: Patience, tell: () => void): () => void {
  let before = progress?.()
  const timer = setTimeout(() => {
    const now = progress?.()
    if (now === before) tell()
    else timer.refresh()
    before = now
  }, ms)
  return () => {
    clearTimeout(timer)
  }
}

import { Worker } from 'node:worker_threads'
import { type Answer, type Job, PROGRESS, type Request } from './thread-jobs.ts'
import { errorOfFailure } from './thread-failure.ts'

/** How long a thread without work is kept; starting one takes 30 ms. */
const KEEP_MS = 10_000
/** Little garbage is let pile up: what is copied does not go through the heap. The stack is for the deepest tree. */
const resourceLimits = { maxYoungGenerationSizeMb: 1, stackSizeMb: 4 }

/**
 * Threads that do jobs which take long or wait. Each job that is under way has one for itself, since one that waits for a file
 * system can do nothing else; how many there are is thus up to who asks (base/operations.ts).
 */
export class JobThreads<J extends Readonly<Record<keyof J, Job>>> {
  readonly #entry: URL
  readonly #idle: Worker[] = []
  readonly #timers = new Map<Worker, NodeJS.Timeout>()

  /** `entry` is a module that serves the jobs (thread-jobs.ts). */
  constructor(entry: URL) {
    this.#entry = entry
  }

  /** Does a job; `progress` is called when the job says that it has come further. Throws what the job throws. */
  run<K extends keyof J>(
    job: K,
    args: Parameters<J[K]>[0],
    progress: () => void = () => undefined
  ): Promise<ReturnType<J[K]>> {
    const worker = this.#take()
    return new Promise<unknown>((resolve, reject) => {
      worker.on('message', (answer: Answer | typeof PROGRESS) => {
        if (answer === PROGRESS) {
          progress()
          return
        }
        worker.removeAllListeners('message').removeAllListeners('error')
        this.#keep(worker)
        if ('failure' in answer) reject(errorOfFailure(answer.failure))
        else resolve(answer.result)
      })
      // The thread is over then.
      worker.once('error', reject)
      const request: Request = { job: String(job), args }
      worker.postMessage(request)
    }) as Promise<ReturnType<J[K]>>
  }

  /** Ends the threads that have no work. */
  close(): void {
    for (const worker of this.#idle.splice(0)) this.#end(worker)
  }

  #take(): Worker {
    const worker = this.#idle.pop()
    if (worker === undefined) {
      // Descriptors go from thread to thread here.
      return new Worker(this.#entry, { trackUnmanagedFds: false, resourceLimits })
    }
    clearTimeout(this.#timers.get(worker))
    worker.ref()
    return worker
  }

  /** One is kept for a while, as jobs often come one after the other. */
  #keep(worker: Worker): void {
    if (this.#idle.length > 0) {
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

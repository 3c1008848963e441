import { constants as os } from 'node:os'
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { systemError } from '../base/errors.ts'
import { closeFd, dupFd } from './libc.ts'
import type { Jobs } from './namespace-jobs.ts'
import type { Answer, Request } from './namespace-thread.ts'
import type { PidRef } from './process.ts'
import { errorOfFailure } from './thread-failure.ts'

/** How long a job may take unless told otherwise; a healthy machine's takes microseconds. */
const DEADLINE_MS = 5000
/** Threads that are kept. Starting one takes 30 ms and some megabytes. */
const KEPT = 2
/** How long jobs wait for the kept threads before there are more: these may be waiting for machines that do not answer. */
const PATIENCE_MS = 100
const MOST_STUCK_PER_MACHINE = 2
const MOST_STUCK = 8
const MOST_THREADS = MOST_STUCK + KEPT

/** A process with the namespaces and the root directory that a job works in. */
export interface Leader {
  readonly leader: PidRef
}

/** What it takes to run a job, and who waits for it. */
interface Task {
  readonly key: object
  /** What the thread is told; `pidfd` is ours to close. */
  readonly request: Request
  readonly deadlineMs: number
  readonly resolve: (result: unknown) => void
  readonly reject: (error: unknown) => void
}

/**
 * Threads that work inside machines, where everything can be hostile: links that lead out, FIFOs, file systems that
 * never answer. A job that misses its deadline is given up together with its thread; one machine gets one thread at a
 * time, so that the others are served meanwhile.
 */
export class NamespaceWorkers {
  readonly #idle: Worker[] = []
  /** What each busy thread does. */
  readonly #running = new Map<Worker, Task>()
  /** Threads that missed a deadline, with what they still hang in. */
  readonly #stuck = new Map<Worker, Task>()
  #waiting: Task[] = []
  #patience: NodeJS.Timeout | undefined
  readonly #deadlines = new Map<Worker, NodeJS.Timeout>()

  /**
   * Does a job at a machine's leader. `key` stands for the machine. Throws what the job throws; ESRCH for a leader that
   * is gone, ETIMEDOUT past the deadline (counted from when the job starts), EBUSY while too many earlier jobs hang.
   */
  run<K extends keyof Jobs>(
    key: object,
    { leader }: Leader,
    job: K,
    args: Parameters<Jobs[K]>[1],
    { deadlineMs = DEADLINE_MS }: { deadlineMs?: number } = {}
  ): Promise<ReturnType<Jobs[K]>> {
    return new Promise<unknown>((resolve, reject) => {
      if (this.#refuses(key)) throw systemError(os.errno.EBUSY, job)
      if (leader.pidfd === undefined) throw systemError(os.errno.ESRCH, job)
      const request = { pid: leader.pid, pidfd: dupFd(leader.pidfd), job, args }
      this.#waiting.push({ key, request, deadlineMs, resolve, reject })
      this.#dispatch()
    }) as Promise<ReturnType<Jobs[K]>>
  }

  /** Ends all threads that can be ended; whoever waits gets ECANCELED. */
  close(): void {
    const tasks = [...this.#waiting, ...this.#running.values()]
    this.#waiting.forEach(({ request }) => {
      closeFd(request.pidfd)
    })
    this.#waiting = []
    for (const task of tasks) task.reject(systemError(os.errno.ECANCELED, task.request.job))
    clearTimeout(this.#patience)
    this.#deadlines.forEach((timer) => {
      clearTimeout(timer)
    })
    for (const worker of [...this.#idle, ...this.#running.keys(), ...this.#stuck.keys()]) void worker.terminate()
  }

  #refuses(key: object): boolean {
    const same = [...this.#stuck.values()].filter((task) => task.key === key)
    return same.length >= MOST_STUCK_PER_MACHINE || this.#stuck.size >= MOST_STUCK
  }

  /** Gives waiting jobs to threads, oldest first, as far as there are threads and machines that have none at work. */
  #dispatch(): void {
    const busy = new Set([...this.#running.values()].map((task) => task.key))
    this.#waiting = this.#waiting.filter((task) => {
      if (busy.has(task.key)) return true
      const worker = this.#idle.pop() ?? (this.#running.size < KEPT ? this.#start() : undefined)
      if (worker === undefined) {
        this.#patience ??= setTimeout(() => {
          this.#growAndDispatch()
        }, PATIENCE_MS)
        return true
      }
      busy.add(task.key)
      this.#assign(worker, task)
      return false
    })
  }

  #growAndDispatch(): void {
    this.#patience = undefined
    if (this.#waiting.length === 0) return
    if (this.#running.size + this.#stuck.size < MOST_THREADS) this.#idle.push(this.#start())
    this.#dispatch()
  }

  #start(): Worker {
    const entry = new URL(`./namespace-thread${extname(import.meta.url)}`, import.meta.url)
    // Descriptors go from thread to thread here.
    const worker = new Worker(entry, { trackUnmanagedFds: false })
    worker.on('message', (answer: Answer) => {
      this.#finish(worker, answer)
    })
    worker.on('error', (error) => {
      this.#finish(worker, { failure: { bug: error }, fatal: true })
    })
    worker.unref()
    return worker
  }

  #assign(worker: Worker, task: Task): void {
    this.#running.set(worker, task)
    this.#deadlines.set(
      worker,
      setTimeout(() => {
        this.#abandon(worker, task)
      }, task.deadlineMs)
    )
    // Only a thread whose answer is awaited keeps the process alive.
    worker.ref()
    worker.postMessage(task.request)
  }

  #abandon(worker: Worker, task: Task): void {
    worker.unref()
    this.#running.delete(worker)
    this.#deadlines.delete(worker)
    this.#stuck.set(worker, task)
    task.reject(systemError(os.errno.ETIMEDOUT, task.request.job))
    const refused = this.#waiting.filter((waiting) => this.#refuses(waiting.key))
    this.#waiting = this.#waiting.filter((waiting) => !refused.includes(waiting))
    for (const { request, reject } of refused) {
      closeFd(request.pidfd)
      reject(systemError(os.errno.EBUSY, request.job))
    }
    this.#dispatch()
  }

  #finish(worker: Worker, answer: Answer): void {
    const awaited = this.#running.get(worker)
    const late = this.#stuck.get(worker)
    const task = awaited ?? late
    this.#running.delete(worker)
    this.#stuck.delete(worker)
    clearTimeout(this.#deadlines.get(worker))
    this.#deadlines.delete(worker)
    worker.unref()
    if (task !== undefined) closeFd(task.request.pidfd)
    if ('failure' in answer) awaited?.reject(errorOfFailure(answer.failure))
    else if (awaited !== undefined) awaited.resolve(answer.result)
    else answer.fds.forEach(closeFd)
    if (('failure' in answer && answer.fatal) || this.#idle.length >= KEPT) void worker.terminate()
    else this.#idle.push(worker)
    this.#dispatch()
  }
}

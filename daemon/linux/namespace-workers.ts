import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { systemError } from '../base/errors.ts'
import { closeFd, dupFd } from './libc.ts'
import type { Jobs } from './namespace-jobs.ts'
import type { Answer, HostPlace, Request } from './namespace-thread.ts'
import type { PidRef } from './process.ts'
import { errorOfFailure } from './thread-failure.ts'

const O_PATH = 0x200000
/** How long a job may take unless told otherwise; a healthy machine's takes microseconds. */
const DEADLINE_MS = 5000
/** Threads that are kept. Starting one takes 30 ms and some megabytes. */
const KEPT = 2
/** How long jobs wait for the kept threads before there are more: these may be waiting for machines that do not answer. */
const PATIENCE_MS = 100
/** How many threads of one machine may hang, and how many of all before it is one of each machine. */
const MOST_STUCK_PER_MACHINE = 2
const MANY_STUCK = 8
const MOST_STUCK = 32
const MOST_THREADS = MOST_STUCK + KEPT

/** A process with the namespaces and the root directory that a job works in. */
export interface Leader {
  readonly leader: PidRef
}

/** What it takes to run a job, and who waits for it. */
interface Task extends Leader {
  readonly key: object
  readonly job: keyof Jobs
  readonly args: unknown
  readonly deadlineMs: number
  readonly resolve: (result: unknown) => void
  readonly reject: (error: unknown) => void
}

/** A task that a thread is at, or hangs in. */
interface Run {
  readonly task: Task
  /** By which the thread knows the leader; ours to close when the thread is done. */
  readonly pidfd: number
  readonly deadline: NodeJS.Timeout
}

/**
 * Threads that work inside machines, where everything can be hostile: links that lead out, FIFOs, file systems that
 * never answer. A job that misses its deadline is given up together with its thread; one machine gets one thread at a
 * time, so that the others are served meanwhile.
 */
export class NamespaceWorkers {
  readonly #starting = new Set<Worker>()
  readonly #idle: Worker[] = []
  readonly #running = new Map<Worker, Run>()
  /** Threads that missed a deadline. */
  readonly #stuck = new Map<Worker, Run>()
  /** Machines that a thread is at, and tasks that wait for one, by machine; whose turn it was last comes last. */
  readonly #busy = new Set<object>()
  readonly #waiting = new Map<object, Task[]>()
  #patience: NodeJS.Timeout | undefined
  #host: HostPlace | undefined

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
      const queue = this.#waiting.get(key) ?? []
      queue.push({ key, leader, job, args, deadlineMs, resolve, reject })
      this.#waiting.set(key, queue)
      this.#dispatch()
    }) as Promise<ReturnType<Jobs[K]>>
  }

  /** Ends all threads that can be ended; whoever waits gets ECANCELED. */
  close(): void {
    const running = [...this.#running.values()]
    const tasks = [...[...this.#waiting.values()].flat(), ...running.map(({ task }) => task)]
    this.#waiting.clear()
    for (const { job, reject } of tasks) reject(systemError(os.errno.ECANCELED, job))
    clearTimeout(this.#patience)
    for (const { deadline } of running) clearTimeout(deadline)
    const workers = [...this.#starting, ...this.#idle, ...this.#running.keys(), ...this.#stuck.keys()]
    for (const worker of workers) void worker.terminate()
  }

  #refuses(key: object): boolean {
    const all = this.#stuck.size
    const own = [...this.#stuck.values()].filter(({ task }) => task.key === key).length
    return own >= (all < MANY_STUCK ? MOST_STUCK_PER_MACHINE : 1) || all >= MOST_STUCK
  }

  /** Gives threads to machines that have none and something that waits, as far as there are threads. */
  #dispatch(): void {
    let without = 0
    for (const [key, queue] of this.#waiting) {
      if (this.#busy.has(key)) continue
      const worker = this.#idle.pop()
      if (worker === undefined) {
        without++
        continue
      }
      const task = queue.shift()
      this.#waiting.delete(key)
      if (queue.length > 0) this.#waiting.set(key, queue)
      if (task !== undefined) this.#assign(worker, task)
    }
    if (without > this.#starting.size) this.#askForMore()
  }

  #askForMore(): void {
    if (this.#running.size + this.#starting.size < KEPT) {
      this.#start()
      return
    }
    this.#patience ??= setTimeout(() => {
      this.#patience = undefined
      // As many more as seem to hang, lest one machine waits behind many.
      const most = Math.min(this.#waiting.size, this.#running.size)
      for (let more = 0; more < most && this.#count < MOST_THREADS; more++) this.#start()
    }, PATIENCE_MS)
  }

  get #count(): number {
    return this.#starting.size + this.#idle.length + this.#running.size + this.#stuck.size
  }

  #start(): void {
    const entry = new URL(`./namespace-thread${extname(import.meta.url)}`, import.meta.url)
    // Descriptors go from thread to thread here.
    const worker = new Worker(entry, { trackUnmanagedFds: false, workerData: (this.#host ??= openHostPlace()) })
    this.#starting.add(worker)
    worker.on('message', (message: Answer | 'ready') => {
      if (message !== 'ready') this.#finish(worker, message)
      else if (this.#starting.delete(worker)) this.#keep(worker)
    })
    worker.on('error', (error) => {
      if (this.#starting.delete(worker)) this.#rejectWaiting(() => error)
      else this.#finish(worker, { failure: { bug: error }, fatal: true })
    })
  }

  /** Takes a thread that has nothing to do back, unless there are enough. */
  #keep(worker: Worker): void {
    worker.unref()
    this.#idle.push(worker)
    this.#dispatch()
    if (this.#idle.length > KEPT) void this.#idle.pop()?.terminate()
  }

  #assign(worker: Worker, task: Task): void {
    const { key, leader, job, args, deadlineMs } = task
    const pidfd = holdLeader(task)
    if (pidfd === undefined) {
      this.#idle.push(worker)
      return
    }
    const deadline = setTimeout(() => {
      this.#abandon(worker)
    }, deadlineMs)
    this.#running.set(worker, { task, pidfd, deadline })
    this.#busy.add(key)
    // Only a thread whose answer is awaited keeps the process alive.
    worker.ref()
    const request: Request = { pid: leader.pid, pidfd, job, args }
    worker.postMessage(request)
  }

  #abandon(worker: Worker): void {
    const run = this.#running.get(worker)
    if (run === undefined) return
    worker.unref()
    this.#running.delete(worker)
    this.#busy.delete(run.task.key)
    this.#stuck.set(worker, run)
    run.task.reject(systemError(os.errno.ETIMEDOUT, run.task.job))
    this.#rejectWaiting(({ key, job }) => (this.#refuses(key) ? systemError(os.errno.EBUSY, job) : undefined))
    this.#dispatch()
  }

  #finish(worker: Worker, answer: Answer): void {
    const awaited = this.#running.get(worker)
    const run = awaited ?? this.#stuck.get(worker)
    this.#running.delete(worker)
    this.#stuck.delete(worker)
    if (run !== undefined) {
      clearTimeout(run.deadline)
      closeFd(run.pidfd)
    }
    if (awaited !== undefined) this.#busy.delete(awaited.task.key)
    if ('failure' in answer) awaited?.task.reject(errorOfFailure(answer.failure))
    else if (awaited !== undefined) awaited.task.resolve(answer.result)
    else answer.fds.forEach(closeFd)
    if (!('failure' in answer && answer.fatal)) this.#keep(worker)
    else {
      void worker.terminate()
      this.#dispatch()
    }
  }

  /** Ends the waiting of all tasks that `why` has an error for. */
  #rejectWaiting(why: (task: Task) => unknown): void {
    for (const [key, queue] of this.#waiting) {
      const rest = queue.filter((task) => {
        const error = why(task)
        if (error !== undefined) task.reject(error)
        return error === undefined
      })
      if (rest.length > 0) this.#waiting.set(key, rest)
      else this.#waiting.delete(key)
    }
  }
}

/** A descriptor of the leader's own for the time of the task; the task has failed when there is none. */
function holdLeader({ leader, job, reject }: Task): number | undefined {
  try {
    // It can have ended while the task waited.
    if (leader.pidfd === undefined) throw systemError(os.errno.ESRCH, job)
    return dupFd(leader.pidfd)
  } catch (error) {
    reject(error)
    return undefined
  }
}

/** These stay open: a thread may need them at any time, and ends without a chance to close anything. */
function openHostPlace(): HostPlace {
  return {
    namespace: fs.openSync('/proc/thread-self/ns/mnt', 'r'),
    root: fs.openSync('/', O_PATH | fs.constants.O_DIRECTORY)
  }
}

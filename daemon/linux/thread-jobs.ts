import { parentPort } from 'node:worker_threads'
import { describeFailure, type Failure } from './thread-failure.ts'

/** What a thread does: arguments and results are copied from thread to thread. */
export type Job = (args: never) => unknown

/** One job for the thread. */
export interface Request {
  readonly job: string
  readonly args: unknown
}

/** How a job ended. */
export type Answer = { readonly result: unknown } | { readonly failure: Failure }

/** What a thread sends first. */
export const READY = 'ready'
/** What a thread sends while it works, when there is more to be seen of it. */
export const PROGRESS = 'progress'

/** Says to whom this thread works for that it has come further. */
export function reportProgress(): void {
  parentPort?.postMessage(PROGRESS)
}

/** Makes this thread do, from a closed list of jobs, what it is told by job-threads.ts. */
export function serveJobs(jobs: Readonly<Record<string, Job>>): void {
  parentPort?.on('message', ({ job, args }: Request) => {
    parentPort?.postMessage(perform(jobs[job] as (args: unknown) => unknown, args))
  })
  parentPort?.postMessage(READY)
}

function perform(job: (args: unknown) => unknown, args: unknown): Answer {
  try {
    return { result: job(args) }
  } catch (error) {
    return { failure: describeFailure(error) }
  }
}

import * as fs from 'node:fs'
import { parentPort } from 'node:worker_threads'
import { copyTree } from './copy-tree.ts'
import { describeFailure, type Failure } from './thread-failure.ts'

/*
 * The entry of a worker thread (copy-threads.ts) that copies trees. It shares descriptors with the main thread, sees files as
 * the daemon does and enters no machine: those directories that are inside of one it is given open.
 */

const O_PATH = 0x200000

/** A descriptor (O_PATH) of a directory of the host. Here, as a path can lead to a file system that does not answer. */
function openDirectory(path: string): number {
  return fs.openSync(path, O_PATH | fs.constants.O_DIRECTORY)
}

/** The closed list of what the thread does. */
const jobs = { openDirectory, copyTree }
export type CopyJobs = typeof jobs

/** One job for the thread. */
export interface CopyRequest {
  readonly job: keyof CopyJobs
  readonly args: unknown
}

/** How a job ended. */
export type CopyAnswer = { readonly result: unknown } | { readonly failure: Failure }

parentPort?.on('message', ({ job, args }: CopyRequest) => {
  parentPort?.postMessage(perform(jobs[job] as (args: unknown) => unknown, args))
})

function perform(job: (args: unknown) => unknown, args: unknown): CopyAnswer {
  try {
    return { result: job(args) }
  } catch (error) {
    return { failure: describeFailure(error) }
  }
}

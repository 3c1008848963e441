import { extname } from 'node:path'
import type { CopyJobs } from './copy-thread.ts'
import { JobThreads } from './job-threads.ts'

/** Threads that copy files between machines and the host. */
export type CopyThreads = JobThreads<CopyJobs>

/** Starts none before there is something to copy. */
export function copyThreads(): CopyThreads {
  return new JobThreads(new URL(`./copy-thread${extname(import.meta.url)}`, import.meta.url))
}

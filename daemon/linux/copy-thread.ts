import * as fs from 'node:fs'
import { copyTree } from './copy-tree.ts'
import { serveJobs } from './thread-jobs.ts'
import { prepareHelp } from './tree-helper.ts'

/*
 * The entry of a worker thread (copy-threads.ts) that copies trees. It shares descriptors with the main thread, sees files as
 * the daemon does and enters no machine: those directories that are inside of one it is given open.
 */

const O_PATH = 0x200000

/** A descriptor (O_PATH) of a directory of the host. Here, as a path can lead to a file system that does not answer. */
function openDirectory(path: string): number {
  return fs.openSync(path, O_PATH | fs.constants.O_DIRECTORY)
}

const jobs = { openDirectory, copyTree }
export type CopyJobs = typeof jobs

serveJobs(jobs)
prepareHelp()

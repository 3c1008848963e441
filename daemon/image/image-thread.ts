import { serveJobs } from '../linux/thread-jobs.ts'
import { cloneImage } from './clone.ts'
import { setImageLimit, setPoolLimit } from './pool.ts'
import { setReadOnly } from './read-only.ts'
import { removeImage } from './remove.ts'
import { renameImage } from './rename.ts'
import { removeLeftovers } from './temporary.ts'

/* The entry of a worker thread that changes images: locks, copies and removals wait for disks. */

const jobs = { cloneImage, removeImage, renameImage, setReadOnly, setImageLimit, setPoolLimit, removeLeftovers }
export type ImageJobs = typeof jobs

serveJobs(jobs)

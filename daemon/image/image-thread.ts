import { serveJobs } from '../linux/thread-jobs.ts'
import { cloneImage } from './clone.ts'
import { confineMount, holdImage, mountDirectory, releaseLocks } from './mount-jobs.ts'
import { readPoolSize, setImageLimit, setPoolLimit } from './pool.ts'
import { setReadOnly } from './read-only.ts'
import { removeImage } from './remove.ts'
import { renameImage } from './rename.ts'
import { removeLeftovers } from './temporary.ts'
import { watchPlace, watchVersions } from './watch-places.ts'

/* The entry of a worker thread that changes, mounts or watches images or their pool: locks, copies and removals wait for disks. */

const changes = { cloneImage, removeImage, renameImage, setReadOnly, setImageLimit, setPoolLimit, removeLeftovers }
const looks = { readPoolSize, watchPlace, watchVersions }
const mounts = { confineMount, holdImage, mountDirectory, releaseLocks }
const jobs = { ...changes, ...mounts, ...looks }
export type ImageJobs = typeof jobs

serveJobs(jobs)

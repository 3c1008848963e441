import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import { isSystemError, systemError } from '../base/errors.ts'
import { changeRoot, closeFd, pidfdSendSignal, setns, unshare } from './libc.ts'
import { jobs, type Jobs, type Place } from './namespace-jobs.ts'
import { describeFailure, type Failure } from './thread-failure.ts'
import { becomeEffectively, type Identity } from './thread-identity.ts'

/*
 * The entry of a worker thread (namespace-workers.ts): says that it is ready, then does one job after the other and says how
 * it ended. It shares descriptors with the main thread, but has its own root, working directory and, for a while, mount
 * namespace.
 */

const CLONE_FS = 0x200
const CLONE_NEWNS = 0x20000
const O_PATH = 0x200000

/** The way back from machines: descriptors of the host's mount namespace and root directory, which all threads share. */
export interface HostPlace {
  readonly namespace: number
  readonly root: number
}

/** One job for the thread. */
export interface Request {
  readonly pid: number
  /** Belongs to the main thread, which keeps it open until the answer. */
  readonly pidfd: number
  readonly job: keyof Jobs
  readonly args: unknown
}

/** How a job ended. */
export type Answer =
  { readonly result: unknown; readonly fds: readonly number[] } | { readonly failure: Failure; readonly fatal: boolean }

unshare(CLONE_FS)
const host = workerData as HostPlace
const root: Identity = { uid: 0, gid: 0 }
/** Whether the thread could not come back from a machine, and must not go on. */
let lost = false

parentPort?.on('message', (request: Request) => {
  parentPort?.postMessage(perform(request))
})
parentPort?.postMessage('ready')

function perform(request: Request): Answer {
  const given: number[] = []
  let rootFd: number | undefined
  try {
    rootFd = openRoot(request)
    const job = jobs[request.job] as (place: Place, args: unknown) => unknown
    const result = job(
      {
        rootFd,
        inside: inside(request.pidfd, rootFd),
        inNamespace: inside(request.pidfd),
        as,
        give: (fd) => (given.push(fd), fd)
      },
      request.args
    )
    return { result, fds: given }
  } catch (error) {
    given.forEach(closeFd)
    return { failure: describeFailure(error), fatal: lost }
  } finally {
    if (rootFd !== undefined) closeFd(rootFd)
  }
}

/** The root directory of the process; the number in the path means that process as long as the pidfd can be signalled. */
function openRoot({ pid, pidfd }: Request): number {
  const path = `/proc/${String(pid)}/root`
  let fd: number
  try {
    fd = fs.openSync(path, O_PATH | fs.constants.O_DIRECTORY)
  } catch (error) {
    throw isSystemError(error) && error.code === 'ENOENT' ? systemError(os.errno.ESRCH, 'open', path) : error
  }
  try {
    pidfdSendSignal(pidfd, 0)
    return fd
  } catch (error) {
    closeFd(fd)
    throw error
  }
}

/** setns(2) leaves the thread at the root of the namespace, from where it goes on to `rootFd`. */
function inside(pidfd: number, rootFd?: number): Place['inside'] {
  return (work) => {
    setns(pidfd, CLONE_NEWNS)
    try {
      if (rootFd !== undefined) changeRoot(rootFd)
      return work()
    } finally {
      comeBack()
    }
  }
}

function as<T>(identity: Identity, work: () => T): T {
  try {
    becomeEffectively(identity)
    return work()
  } finally {
    lost = true
    becomeEffectively(root)
    lost = false
  }
}

function comeBack(): void {
  lost = true
  setns(host.namespace, CLONE_NEWNS)
  changeRoot(host.root)
  lost = false
}

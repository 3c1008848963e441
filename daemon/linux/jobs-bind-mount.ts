import * as fs from 'node:fs'
import { MachinedError, isSystemError } from '../base/errors.ts'
import { closeFd } from './libc.ts'
import { attachTree, changeMount, cloneTree, detachMountOf } from './mount.ts'
import { findOrMakeTarget, type Target } from './mount-target.ts'
import type { Place } from './namespace-jobs.ts'
import { openat2 } from './openat2.ts'

const O_PATH = 0x200000
const DIRECTORY = O_PATH | fs.constants.O_DIRECTORY

/** What of the host is to be seen where in a machine. */
export interface BindMountArgs extends Target {
  /** A path of the host, whose links lead where they lead there. */
  readonly source: string
  readonly readOnly: boolean
  /** The machine's user namespace, if it has one of its own: its IDs stand for those that the source's files have. */
  readonly userNamespace: number | undefined
}

/**
 * Mounts a file or directory of the host, without what is mounted below, in a machine, in the place of what is mounted
 * there. What was made for it is gone again when it fails. Throws NotSupported where the users of the source's
 * file system cannot be mapped.
 */
export function bindMount(place: Place, args: BindMountArgs): void {
  const source = openSource(args.source)
  const links = fs.openSync('/proc/thread-self/fd', DIRECTORY)
  try {
    const isDirectory = fs.fstatSync(source).isDirectory()
    const tree = cloneSource(source, args)
    try {
      place.inNamespace(() => {
        using target = findOrMakeTarget(place.rootFd, { ...args, isDirectory })
        replaceMount(tree, target.fd, links)
        target.keep()
      })
    } finally {
      closeFd(tree)
    }
  } finally {
    closeFd(links)
    closeFd(source)
  }
}

/** Links of /proc are refused, as they could lead into a machine. */
function openSource(path: string): number {
  const root = fs.openSync('/', DIRECTORY)
  try {
    return openat2(root, path, O_PATH)
  } finally {
    closeFd(root)
  }
}

function cloneSource(fd: number, { source, readOnly, userNamespace }: BindMountArgs): number {
  const tree = cloneTree(fd)
  try {
    if (readOnly) changeMount(tree, { set: ['readOnly'] })
    if (userNamespace !== undefined) mapUsers(tree, userNamespace, source)
    return tree
  } catch (error) {
    closeFd(tree)
    throw error
  }
}

function mapUsers(tree: number, userNamespace: number, source: string): void {
  try {
    changeMount(tree, { userNamespace })
  } catch (cause) {
    if (!isSystemError(cause) || !['EINVAL', 'EPERM', 'ENOSYS', 'EOPNOTSUPP'].includes(cause.code)) throw cause
    // The first sentence is what clients know from the stock daemon.
    const text = "Can't bind mount on container with user namespacing applied."
    throw new MachinedError('NotSupported', `${text} The file system of ${source} cannot map users.`, { cause })
  }
}

/** In one step where the kernel can (Linux 6.5): what is mounted there is never gone without the new one being there. */
function replaceMount(tree: number, target: number, links: number): void {
  try {
    attachTree(tree, target, { beneath: true })
  } catch (error) {
    // Nothing is mounted there, or the kernel does not know how, or it may not be taken away.
    if (!isSystemError(error) || error.code !== 'EINVAL') throw error
    attachTree(tree, target)
    return
  }
  detachMountOf(target, links)
}

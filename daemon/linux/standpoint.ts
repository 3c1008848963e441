import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { ifPossible, systemError } from '../base/errors.ts'
import { closeFd } from './libc.ts'
import { parseMountInfo } from './mount-info.ts'
import type { PidRef } from './process.ts'
import { readOpenProcFile } from './proc-file.ts'
import { hasChanged } from './readiness.ts'
import { sharesUserNamespace } from './user-namespace.ts'

/** More mounts than this are not worth reading for what is gained. */
const MOUNTS_LIMIT = 64 * 1024
/**
 * File systems of whose files in use the kernel has all in memory: nobody else changes them or has to be asked. Not among them
 * are those of servers, as NFS and FUSE, of which 9p even waits when told not to (AT_STATX_DONT_SYNC).
 */
const WAITLESS = new Set(
  `autofs bpf btrfs cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs erofs ext2 ext3 ext4 f2fs fusectl
  hugetlbfs iso9660 mqueue nsfs overlay proc pstore ramfs securityfs selinuxfs squashfs sysfs tmpfs tracefs vfat xfs`.split(
    /\s+/
  )
)

/**
 * Where a process stands among mounts. As long as that is the same, its root directory is, and so is all that is mounted there
 * (mount_namespaces(7)). It can be looked around there without waiting, and to ask whether it is the same takes no look at any
 * file system but /proc.
 */
export class Standpoint {
  readonly #process: PidRef
  readonly #links: string
  /** Its mountinfo, which can be polled for changes from here on; keeps the namespace from being over. */
  readonly #mounts: number

  private constructor(process: PidRef, links: string, mounts: number) {
    this.#process = process
    this.#links = links
    this.#mounts = mounts
  }

  /** Where a process is right now; undefined when that cannot be told, or when it could have to be waited for there. */
  static of(process: PidRef): Standpoint | undefined {
    return ifPossible(() => {
      // In this order: whatever changes in between is seen later.
      const links = readLinks(process)
      if (!isHarmless(process, links)) return undefined
      const mounts = fs.openSync(`/proc/${String(process.pid)}/mountinfo`, 'r')
      const standpoint = new Standpoint(process, links, mounts)
      if (standpoint.#isWaitless()) return standpoint
      closeFd(mounts)
      return undefined
    })
  }

  /** Whether the process has been there all the time. Not any more, once it was not. */
  isSame(): boolean {
    return !hasChanged(this.#mounts) && ifPossible(() => readLinks(this.#process)) === this.#links
  }

  [Symbol.dispose](): void {
    closeFd(this.#mounts)
  }

  #isWaitless(): boolean {
    const text = ifPossible(() => readOpenProcFile(this.#mounts, MOUNTS_LIMIT))
    return text !== undefined && parseMountInfo(text).every(({ fileSystem }) => WAITLESS.has(fileSystem))
  }
}

/** PID 1 stays where it is. */
let hostLinks: string | undefined

/**
 * Whether nobody there could mount what has to be waited for, between one look and the next: that takes the host's root. An
 * overlay is only as good as what is below it, which is the host's too then.
 */
function isHarmless(process: PidRef, links: string): boolean {
  return links === (hostLinks ??= readLinksOf(1)) || !sharesUserNamespace(process)
}

/** What readLinksOf() says of the process. Throws ESRCH. */
function readLinks(process: PidRef): string {
  const links = readLinksOf(process.pid)
  // While the process lives no other can have its PID, and then these were its links.
  if (!process.isAlive()) throw systemError(os.errno.ESRCH, 'readlink')
  return links
}

/** The path of the root directory, as the kernel knows it, and the name of the mount namespace. */
function readLinksOf(pid: number): string {
  return `${fs.readlinkSync(`/proc/${String(pid)}/root`)}\0${fs.readlinkSync(`/proc/${String(pid)}/ns/mnt`)}`
}

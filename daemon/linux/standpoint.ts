import * as fs from 'node:fs'
import { ifPossible } from '../base/errors.ts'
import { closeFd } from './libc.ts'
import { type MountEntry, parseMountInfo } from './mount-info.ts'
import { namespaceName } from './namespace.ts'
import type { PidRef } from './process.ts'
import { readOpenProcFile, readProcFile, readProcLink } from './proc-file.ts'
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
  hugetlbfs iso9660 mqueue nsfs proc pstore ramfs securityfs selinuxfs squashfs sysfs tmpfs tracefs vfat xfs`.split(
    /\s+/
  )
)

/**
 * Where a process stands among mounts. As long as that is the same, its root directory is, and so is all that is mounted there
 * (mount_namespaces(7)). To ask whether it is takes no look at any file system but /proc.
 */
export class Standpoint {
  readonly #process: PidRef
  readonly #place: string
  /** Its mountinfo, which can be polled for changes from here on; keeps the namespace from being over. */
  readonly #mounts: number

  private constructor(process: PidRef, place: string, mounts: number) {
    this.#process = process
    this.#place = place
    this.#mounts = mounts
  }

  /** Where a process is right now; undefined when that cannot be told. */
  static of(process: PidRef): Standpoint | undefined {
    return ifPossible(() => {
      // In this order: whatever changes in between is seen later.
      const place = placeOf(process)
      return new Standpoint(process, place, fs.openSync(`/proc/${String(process.pid)}/mountinfo`, 'r'))
    })
  }

  /** Whether the process has been there all the time. Not any more, once it was not. */
  isSame(): boolean {
    return !hasChanged(this.#mounts) && ifPossible(() => placeOf(this.#process)) === this.#place
  }

  /** Whether the mount of this number, whose files are in use, can be looked at without waiting. To be asked once. */
  isWaitless(mount: number): boolean {
    const isOne = (entry: MountEntry): boolean => entry.id === mount && isWaitless(entry, this.#process)
    return ifPossible(() => parseMountInfo(readOpenProcFile(this.#mounts, MOUNTS_LIMIT)).some(isOne)) ?? false
  }

  [Symbol.dispose](): void {
    closeFd(this.#mounts)
  }
}

/** The path of the root directory, as the kernel knows it, and the name of the mount namespace. Throws ESRCH. */
function placeOf(process: PidRef): string {
  const root = readProcLink(`/proc/${String(process.pid)}/root`)
  // While the process lives, which is looked at here, no other can have its PID, and then this was its root directory.
  return `${root}\0${namespaceName(process, 'mnt')}`
}

/**
 * An overlay waits for what it lies on. That is the host's concern where the host has it mounted too, or where its owner could
 * not make it of anything that waits though it is told not to: this takes root of the host.
 */
function isWaitless({ fileSystem, device }: MountEntry, process: PidRef): boolean {
  if (fileSystem !== 'overlay') return WAITLESS.has(fileSystem)
  return !sharesUserNamespace(process) || isMountedOnHost(device)
}

function isMountedOnHost(device: string): boolean {
  return parseMountInfo(readProcFile('/proc/1/mountinfo', MOUNTS_LIMIT)).some((entry) => entry.device === device)
}

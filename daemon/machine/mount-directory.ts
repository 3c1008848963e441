import * as fs from 'node:fs'
import { dirname, join } from 'node:path'
import { isSystemError } from '../base/errors.ts'
import { closeFd } from '../linux/libc.ts'
import { attachTree, changeMount, cloneTree } from '../linux/mount.ts'
import { readMounts } from '../linux/mount-info.ts'
import type { PidRef } from '../linux/process.ts'

const O_PATH = 0x200000
const DIRECTORY = O_PATH | fs.constants.O_DIRECTORY | fs.constants.O_NOFOLLOW

/** A root that is mounted on the host. */
export interface RootMount {
  /** Of a machine or an image. */
  readonly name: string
  readonly mountPoint: string
  readonly readOnly: boolean
}

/**
 * The directory on the host that roots are mounted in, each under its name. What is mounted, the kernel says; beside it
 * there is only a link to the leader of each machine whose root is mounted, since such a mount goes with the machine. Names
 * that begin with `.#` are no machine's and no image's.
 */
export class MountDirectory {
  readonly #path: string
  readonly #leaders: string
  readonly #empty: string
  /** What the directory of leaders holds, once it was read: nobody else changes it. */
  #led: Set<string> | undefined

  constructor(path: string) {
    this.#path = path
    this.#leaders = join(path, '.#leaders')
    this.#empty = join(path, '.#empty')
  }

  /** All that is mounted. */
  list(): RootMount[] {
    const topmost = new Map<string, RootMount>()
    for (const { mountPoint, readOnly } of readMounts()) {
      if (dirname(mountPoint) !== this.#path) continue
      const name = mountPoint.slice(this.#path.length + 1)
      topmost.set(name, { name, mountPoint, readOnly })
    }
    return [...topmost.values()]
  }

  find(name: string): RootMount | undefined {
    return this.list().find((mount) => mount.name === name)
  }

  /** How many mounts there are on that of a name, itself among them. */
  count({ mountPoint }: RootMount): number {
    return readMounts().filter((entry) => `${entry.mountPoint}/`.startsWith(`${mountPoint}/`)).length
  }

  /**
   * Makes the directory to mount on. Only root gets to what is in there: a machine's root can have files in it that are
   * the machine's secrets, or that its root and a user of the host have made together.
   */
  makePoint(name: string): string {
    for (const path of [this.#path, this.#leaders]) fs.mkdirSync(path, { recursive: true, mode: 0o700 })
    this.#keepApart()
    const point = join(this.#path, name)
    fs.mkdirSync(point, { recursive: true, mode: 0o700 })
    return point
  }

  /** Takes the directory and the link away. */
  removePoint(name: string): void {
    fs.rmSync(join(this.#leaders, name), { force: true })
    this.#led?.delete(name)
    try {
      fs.rmdirSync(join(this.#path, name))
    } catch (error) {
      if (!isSystemError(error) || error.code !== 'ENOENT') throw error
    }
  }

  /** A descriptor of a directory of ours with nothing in it. */
  openEmpty(): number {
    fs.mkdirSync(this.#empty, { recursive: true, mode: 0o555 })
    return fs.openSync(this.#empty, DIRECTORY)
  }

  /** Attaches a tree at a place made with `makePoint`. */
  attach(tree: number, point: string): void {
    const target = fs.openSync(point, DIRECTORY)
    try {
      attachTree(tree, target)
    } finally {
      closeFd(target)
    }
  }

  /** Ties what is mounted under a name to a process. */
  setLeader(name: string, leader: PidRef): void {
    const link = join(this.#leaders, name)
    fs.rmSync(link, { force: true })
    fs.symlinkSync(identityOf(leader), link)
    this.#led?.add(name)
  }

  /** Whether what is mounted under a name goes with a machine. Asked of every machine that goes, so that it costs little. */
  hasLeader(name: string): boolean {
    return (this.#led ??= new Set(this.led())).has(name)
  }

  /** Whether that machine is the one with this leader. */
  isLedBy(name: string, leader: PidRef): boolean {
    return this.#readLeader(name) === identityOf(leader)
  }

  /** The names of what goes with a machine. */
  led(): string[] {
    return fs.existsSync(this.#leaders) ? fs.readdirSync(this.#leaders) : []
  }

  #readLeader(name: string): string | undefined {
    try {
      return fs.readlinkSync(join(this.#leaders, name))
    } catch (error) {
      if (isSystemError(error) && error.code === 'ENOENT') return undefined
      throw error
    }
  }

  /**
   * Makes the directory a mount of its own that tells no other namespace what happens in it: services with a copy of the
   * host's mounts would keep every machine's file systems busy.
   */
  #keepApart(): void {
    if (readMounts().some(({ mountPoint }) => mountPoint === this.#path)) return
    const directory = fs.openSync(this.#path, DIRECTORY)
    try {
      const tree = cloneTree(directory)
      try {
        changeMount(tree, { private: true })
        attachTree(tree, directory)
      } finally {
        closeFd(tree)
      }
    } finally {
      closeFd(directory)
    }
  }
}

/** The PID alone can be another process's by now. */
function identityOf({ pid, pidfdId }: PidRef): string {
  return `${String(pid)}:${String(pidfdId)}`
}

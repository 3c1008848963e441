import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import { ExplainedError, MachinedError, isSystemError, systemError } from '../base/errors.ts'
import { closeFd } from '../linux/libc.ts'
import type { PidRef } from '../linux/process.ts'
import type { Machine } from './machine.ts'

/** How long a machine's file system may take; a healthy one needs microseconds. */
const DEADLINE_MS = 5000
/** Opening is left to libuv's threads, of which there are four: file systems that never answer must not take all. */
const MOST_AT_ONCE = 3

/** Opens root directories of machines: a container can mount a file system there that never answers. */
export class RootDirectories {
  readonly #opening = new Set<Machine>()

  /**
   * A descriptor of the machine's root directory as its leader sees it, for the caller to close (spec/dbus.md 7.10).
   * Throws NotSupported for what is no container, EBUSY while the machine still owes an answer, ETIMEDOUT.
   */
  async open(machine: Machine): Promise<number> {
    try {
      if (machine.class === 'host') return fs.openSync('/', fs.constants.O_RDONLY | fs.constants.O_DIRECTORY)
      if (machine.class !== 'container') {
        const text = 'Opening the root directory is only supported on container machines.'
        throw new MachinedError('NotSupported', text)
      }
      return await this.#openInTime(machine)
    } catch (error) {
      if (!isSystemError(error)) throw error
      throw new ExplainedError(`Failed to open root directory of machine '${machine.name}'`, error)
    }
  }

  async #openInTime(machine: Machine): Promise<number> {
    const { leader } = machine.registration
    if (leader === undefined) throw systemError(os.errno.ESRCH, 'open')
    if (this.#opening.has(machine) || this.#opening.size >= MOST_AT_ONCE) throw systemError(os.errno.EBUSY, 'open')
    this.#opening.add(machine)
    let late = false
    const opened = openRoot(leader).finally(() => this.#opening.delete(machine))
    void opened.then(
      (fd) => {
        if (late) closeFd(fd)
      },
      () => undefined
    )
    let timer: NodeJS.Timeout | undefined
    const deadline = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        late = true
        reject(systemError(os.errno.ETIMEDOUT, 'open'))
      }, DEADLINE_MS)
    })
    return Promise.race([opened, deadline]).finally(() => {
      clearTimeout(timer)
    })
  }
}

/** The link leads to the root itself; no name inside the machine is followed. */
async function openRoot(leader: PidRef): Promise<number> {
  const path = `/proc/${String(leader.pid)}/root`
  const fd = await new Promise<number>((resolve, reject) => {
    fs.open(path, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY, (error, opened) => {
      if (error) reject(error.code === 'ENOENT' ? systemError(os.errno.ESRCH, 'open', path) : error)
      else resolve(opened)
    })
  })
  if (leader.verify()) return fd
  closeFd(fd)
  throw systemError(os.errno.ESRCH, 'open', path)
}

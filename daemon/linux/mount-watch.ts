import { closeSync, openSync } from 'node:fs'
import { Poll } from './poll.ts'

/** Says when a mount that the daemon sees comes, goes or is changed, see proc_pid_mountinfo(5). Which one, it does not say. */
export class MountWatch {
  readonly #poll: Poll

  /** Throws SystemError. */
  constructor(changed: () => void) {
    const fd = openSync('/proc/self/mountinfo', 'r')
    try {
      this.#poll = new Poll(fd, changed, { ownsFd: true })
    } catch (error) {
      closeSync(fd)
      throw error
    }
    this.#poll.start({ urgent: true })
  }

  close(): void {
    this.#poll.close()
  }
}

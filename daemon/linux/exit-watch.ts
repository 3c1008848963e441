import { epollAdd, epollCreate, epollRemove, epollWait } from './epoll.ts'
import { Poll } from './poll.ts'

/**
 * The pidfds that are watched, in one epoll(7) of our own: libuv takes five system calls for a descriptor where this takes
 * one, and a machine has two that mostly say nothing till its end.
 */
class Exits {
  readonly #epoll = epollCreate()
  readonly #callbacks = new Map<number, () => void>()
  readonly #poll = new Poll(this.#epoll, () => {
    for (const pidfd of epollWait(this.#epoll)) {
      const callback = this.#callbacks.get(pidfd)
      this.remove(pidfd)
      callback?.()
    }
  })

  add(pidfd: number, callback: () => void): void {
    epollAdd(this.#epoll, pidfd)
    this.#callbacks.set(pidfd, callback)
    this.#poll.start({ readable: true })
  }

  remove(pidfd: number): void {
    if (!this.#callbacks.delete(pidfd)) return
    epollRemove(this.#epoll, pidfd)
    // With nothing to wait for, it keeps the process no longer.
    if (this.#callbacks.size === 0) this.#poll.stop()
  }
}

let exits: Exits | undefined

/**
 * Calls back once when the process of a pidfd has exited. The descriptor stays the caller's, who ends the watch before
 * closing it. Throws SystemError, EEXIST when it is watched already.
 */
export function watchExit(pidfd: number, callback: () => void): { close(): void } {
  exits ??= new Exits()
  const all = exits
  // After it, the number may be another watch's.
  let open = true
  all.add(pidfd, () => {
    open = false
    callback()
  })
  return {
    close: () => {
      if (open) all.remove(pidfd)
      open = false
    }
  }
}

import { declare, unlessAgain } from './libc.ts'

const poll = declare<(fds: Buffer, count: number, timeout: number) => number>('poll', 'int', ['void *', 'ulong', 'int'])

const pollfd = Buffer.alloc(8)
const POLLIN = 0x1
const POLLPRI = 0x2
const POLLHUP = 0x10

/** Whether poll(2) says right now that a read would not block: data, end of file, or (a pidfd) the end of the process. */
export function pollReadable(fd: number): boolean {
  return pollNow(fd, POLLIN) !== 0
}

/** Whether the peer of a connected socket is gone altogether, and has not only ended its half. */
export function isHungUp(fd: number): boolean {
  return (pollNow(fd, 0) & POLLHUP) !== 0
}

/** Whether a file of /proc or /sys that can be polled says that something is different since this was asked last. */
export function hasChanged(fd: number): boolean {
  return pollNow(fd, POLLPRI) !== 0
}

/** The events that poll(2) gives without waiting, those asked for and those that it always tells of. */
function pollNow(fd: number, events: number): number {
  pollfd.writeInt32LE(fd, 0)
  pollfd.writeInt32LE(events, 4) // revents = 0
  let count: number | undefined
  // A signal may come at any time, even in a call that does not wait.
  do count = unlessAgain(poll(pollfd, 1, 0), 'poll')
  while (count === undefined)
  return pollfd.readInt16LE(6)
}

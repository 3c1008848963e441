import { checked, declare, unlessAgain } from './libc.ts'

const c = {
  create: declare<(flags: number) => number>('epoll_create1', 'int', ['int']),
  control: declare<(epoll: number, operation: number, fd: number, event: Buffer) => number>('epoll_ctl', 'int', [
    'int',
    'int',
    'int',
    'void *'
  ]),
  wait: declare<(epoll: number, events: Buffer, most: number, timeout: number) => number>('epoll_wait', 'int', [
    'int',
    'void *',
    'int',
    'int'
  ])
}

/** struct epoll_event: packed on x86_64 alone. */
const epollEventSize = process.arch === 'x64' ? 12 : 16
const epollEvents = Buffer.alloc(epollEventSize * 64)

/** epoll_create1(2), close-on-exec. */
export function epollCreate(): number {
  return checked(c.create(0x80000), 'epoll_create1')
}

/** epoll_ctl(2): adds a descriptor, to be told of when it is readable. */
export function epollAdd(epoll: number, fd: number): void {
  const event = Buffer.alloc(epollEventSize)
  event.writeUInt32LE(1, 0) // EPOLLIN
  event.writeInt32LE(fd, epollEventSize - 8)
  checked(c.control(epoll, 1, fd, event), 'epoll_ctl')
}

/** epoll_ctl(2): takes a descriptor out again. */
export function epollRemove(epoll: number, fd: number): void {
  checked(c.control(epoll, 2, fd, epollEvents), 'epoll_ctl')
}

/** epoll_wait(2) without waiting: some of the descriptors that are readable now. */
export function epollWait(epoll: number): number[] {
  const count = unlessAgain(c.wait(epoll, epollEvents, 64, 0), 'epoll_wait') ?? 0
  return Array.from({ length: count }, (_, index) => epollEvents.readInt32LE((index + 1) * epollEventSize - 8))
}

import koffi from 'koffi'
import { systemError } from '../base/errors.ts'

/*
 * The one door to the C library and to libuv; nothing else imports koffi. Node itself exports libuv, and the
 * C library is in every process, so nothing is compiled at install. The constants are those of x86_64 and aarch64,
 * which agree on everything used here.
 */

if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch)) {
  throw new Error(`machined runs on Linux on x86_64 and aarch64, not on ${process.platform} ${process.arch}`)
}

const library = koffi.load(null)

/** Declares a C function; the caller states its TypeScript type next to the C one. */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- koffi gives untyped functions
export function declare<F extends (...args: never[]) => unknown>(name: string, result: string, args: string[]): F {
  return library.func(name, result, args) as unknown as F
}

type Fds = (fd: number, ...rest: number[]) => number

const c = {
  exit: declare<(status: number) => never>('_exit', 'void', ['int']),
  pidfdOpen: declare<(n: number, pid: number, flags: number) => number>('syscall', 'long', ['long', 'long', 'long']),
  pidfdSendSignal: declare<(n: number, fd: number, signal: number, info: null, flags: number) => number>(
    'syscall',
    'long',
    ['long', 'long', 'long', 'void *', 'long']
  ),
  inotifyInit: declare<(flags: number) => number>('inotify_init1', 'int', ['int']),
  inotifyAddWatch: declare<(fd: number, path: string, mask: number) => number>('inotify_add_watch', 'int', [
    'int',
    'str',
    'uint32_t'
  ]),
  close: declare<(fd: number) => number>('close', 'int', ['int']),
  fcntl: declare<(fd: number, command: number, argument: number) => number>('fcntl', 'int', ['int', 'int', 'long']),
  ioctl: declare<Fds>('ioctl', 'int', ['int', 'ulong', 'long']),
  ioctlPointer: declare<(fd: number, request: number, argument: Buffer) => number>('ioctl', 'int', [
    'int',
    'ulong',
    'void *'
  ]),
  socket: declare<(domain: number, type: number, protocol: number) => number>('socket', 'int', ['int', 'int', 'int']),
  socketpair: declare<(domain: number, type: number, protocol: number, fds: Buffer) => number>('socketpair', 'int', [
    'int',
    'int',
    'int',
    'void *'
  ]),
  connect: declare<(fd: number, address: Buffer, length: number) => number>('connect', 'int', [
    'int',
    'void *',
    'uint32_t'
  ]),
  getsockopt: declare<(fd: number, level: number, name: number, value: Buffer, length: Buffer) => number>(
    'getsockopt',
    'int',
    ['int', 'int', 'int', 'void *', 'void *']
  ),
  send: declare<(fd: number, data: Buffer, length: number, flags: number) => number>('send', 'long', [
    'int',
    'void *',
    'size_t',
    'int'
  ]),
  sendmsg: declare<(fd: number, header: Buffer, flags: number) => number>('sendmsg', 'long', ['int', 'void *', 'int']),
  recvmsg: declare<(fd: number, header: Buffer, flags: number) => number>('recvmsg', 'long', ['int', 'void *', 'int']),
  memfdCreate: declare<(name: string, flags: number) => number>('memfd_create', 'int', ['str', 'uint']),
  pipe2: declare<(fds: Buffer, flags: number) => number>('pipe2', 'int', ['void *', 'int']),
  unshare: declare<(flags: number) => number>('unshare', 'int', ['int']),
  setns: declare<(fd: number, type: number) => number>('setns', 'int', ['int', 'int']),
  fchdir: declare<(fd: number) => number>('fchdir', 'int', ['int']),
  chroot: declare<(path: string) => number>('chroot', 'int', ['str']),
  recvfrom: declare<(fd: number, data: Buffer, size: number, flags: number, from: Buffer, length: Buffer) => number>(
    'recvfrom',
    'long',
    ['int', 'void *', 'size_t', 'int', 'void *', 'void *']
  )
}

// System call numbers: equal on all architectures since Linux 5.1. The C library's wrappers are newer than Debian 12's.
const sysPidfdSendSignal = 424
const sysPidfdOpen = 434
const oNonblock = 0x800
const oCloexec = 0x80000

/** Throws the SystemError of the call that just returned -1; passes any other result on. */
export function checked(result: number, syscall: string, path?: string): number {
  if (result === -1) throw systemError(koffi.errno(), syscall, path)
  return result
}

/** Whether it was with this errno that the call failed that just returned -1. */
export function failedWith(code: 'EAGAIN' | 'EINTR' | 'ENOENT'): boolean {
  return koffi.errno() === koffi.os.errno[code]
}

/** pidfd_open(2): a descriptor for a process, close-on-exec. Throws ESRCH when there is none. */
export function pidfdOpen(pid: number): number {
  return checked(c.pidfdOpen(sysPidfdOpen, pid, 0), 'pidfd_open')
}

/** pidfd_send_signal(2). Signal 0 only checks. */
export function pidfdSendSignal(fd: number, signal: number): void {
  checked(c.pidfdSendSignal(sysPidfdSendSignal, fd, signal, null, 0), 'pidfd_send_signal')
}

/** inotify_init1(2), non-blocking and close-on-exec. */
export function inotifyInit(): number {
  return checked(c.inotifyInit(oNonblock | oCloexec), 'inotify_init1')
}

/** inotify_add_watch(2): gives the watch descriptor. */
export function inotifyAddWatch(fd: number, path: string, mask: number): number {
  return checked(c.inotifyAddWatch(fd, path, mask >>> 0), 'inotify_add_watch', path)
}

/** _exit(2): ends the process, threads that hang in the kernel included, for which exit(3) would wait. */
export function exitAtOnce(status: number): never {
  return c.exit(status)
}

/** close(2). Throws EBADF for a descriptor that is not open, which is always a bug of ours; EINTR counts as closed. */
export function closeFd(fd: number): void {
  if (c.close(fd) === -1 && !failedWith('EINTR')) throw systemError(koffi.errno(), 'close')
}

/** Duplicates a descriptor, close-on-exec, above the standard ones (fcntl F_DUPFD_CLOEXEC). */
export function dupFd(fd: number): number {
  return checked(c.fcntl(fd, 1030, 3), 'fcntl')
}

/** ioctl(2) with an integer or with memory the kernel reads or fills. Gives the call's result. */
export function ioctl(fd: number, request: number, argument: number | Buffer = 0): number {
  return checked(
    typeof argument === 'number' ? c.ioctl(fd, request, argument) : c.ioctlPointer(fd, request, argument),
    'ioctl'
  )
}

/** socket(2) of the Unix family, non-blocking and close-on-exec. */
export function unixSocket(kind: 'stream' | 'datagram'): number {
  return checked(c.socket(1, (kind === 'stream' ? 1 : 2) | oNonblock | oCloexec, 0), 'socket')
}

/** A connected pair of Unix stream sockets, non-blocking and close-on-exec. */
export function socketPair(): [number, number] {
  const fds = Buffer.alloc(8)
  checked(c.socketpair(1, 1 | oNonblock | oCloexec, 0, fds), 'socketpair')
  return [fds.readInt32LE(0), fds.readInt32LE(4)]
}

/** connect(2) with a ready sockaddr. `path` is for the error only. */
export function connectSocket(fd: number, address: Buffer, path: string): void {
  checked(c.connect(fd, address, address.length), 'connect', path)
}

/** getsockopt(2) at SOL_SOCKET into `value`; gives the length the kernel wrote. */
export function getSocketOption(fd: number, option: number, value: Buffer): number {
  const length = Buffer.alloc(4)
  length.writeUInt32LE(value.length)
  checked(c.getsockopt(fd, 1, option, value, length), 'getsockopt')
  return length.readUInt32LE()
}

/** The result of a call that may be told to come back later (EAGAIN, EINTR): then `undefined`. */
export function unlessAgain(result: number, syscall: string): number | undefined {
  if (result !== -1) return result
  if (failedWith('EAGAIN') || failedWith('EINTR')) return undefined
  return checked(result, syscall)
}

const messageFlags = 0x40 | 0x4000 // MSG_DONTWAIT | MSG_NOSIGNAL

/** send(2), never blocking, never raising SIGPIPE. Gives the bytes taken, or undefined when the socket is full. */
export function send(fd: number, data: Buffer): number | undefined {
  return unlessAgain(c.send(fd, data, data.length, messageFlags), 'send')
}

/** sendmsg(2) of a ready msghdr. Gives the bytes taken, or undefined when the socket is full. */
export function sendmsg(fd: number, header: Buffer): number | undefined {
  return unlessAgain(c.sendmsg(fd, header, messageFlags), 'sendmsg')
}

/** recvmsg(2) of a ready msghdr, descriptors close-on-exec. Gives the bytes read, 0 at the end, undefined when there is nothing. */
export function recvmsg(fd: number, header: Buffer): number | undefined {
  return unlessAgain(c.recvmsg(fd, header, 0x40 | 0x40000000), 'recvmsg')
}

/** memfd_create(2): an anonymous file, close-on-exec, which can be sealed. */
export function memfdCreate(name: string): number {
  return checked(c.memfdCreate(name, 1 | 2), 'memfd_create')
}

/** pipe2(2), close-on-exec: [read end, write end]. */
export function pipe(): [number, number] {
  const fds = Buffer.alloc(8)
  checked(c.pipe2(fds, oCloexec), 'pipe2')
  return [fds.readInt32LE(0), fds.readInt32LE(4)]
}

/** The address of a buffer's memory, for structures that point to it. The buffer must be kept alive meanwhile. */
export function addressOf(buffer: Buffer): bigint {
  return koffi.address(buffer)
}

/** A function of ours that C code can call, as the address to hand over. It lives as long as the process. */
export function registerCallback(prototype: string, callback: (...args: never[]) => void): bigint {
  return koffi.register(callback, koffi.pointer(koffi.proto(prototype)))
}

/** libuv's poll handles on Node's own loop (docs.libuv.org/en/v1.x/poll.html). Handles are addresses; results are negative errnos. */
export const uv = {
  defaultLoop: declare<() => bigint>('uv_default_loop', 'void *', []),
  handleSize: declare<(type: number) => number>('uv_handle_size', 'size_t', ['int']),
  pollInit: declare<(loop: bigint, handle: bigint, fd: number) => number>('uv_poll_init', 'int', [
    'void *',
    'void *',
    'int'
  ]),
  pollStart: declare<(handle: bigint, events: number, callback: bigint) => number>('uv_poll_start', 'int', [
    'void *',
    'int',
    'void *'
  ]),
  pollStop: declare<(handle: bigint) => number>('uv_poll_stop', 'int', ['void *']),
  close: declare<(handle: bigint, callback: bigint) => void>('uv_close', 'void', ['void *', 'void *']),
  ref: declare<(handle: bigint) => void>('uv_ref', 'void', ['void *']),
  unref: declare<(handle: bigint) => void>('uv_unref', 'void', ['void *'])
}

/** unshare(2) for the calling thread. */
export function unshare(flags: number): void {
  checked(c.unshare(flags), 'unshare')
}

/** setns(2) for the calling thread: `fd` is a namespace or a pidfd, `flags` says which kinds. */
export function setns(fd: number, flags: number): void {
  checked(c.setns(fd, flags), 'setns')
}

/** Makes a directory the calling thread's root and working directory: fchdir(2), chroot(2). */
export function changeRoot(directory: number): void {
  checked(c.fchdir(directory), 'fchdir')
  checked(c.chroot('.'), 'chroot')
}

/** socket(2) for rtnetlink(7), non-blocking and close-on-exec. */
export function routeSocket(): number {
  return checked(c.socket(16, 3 | oNonblock | oCloexec, 0), 'socket')
}

/** recvfrom(2), never blocking; the sender's sockaddr goes into `from`. Gives the bytes read, undefined when there is nothing. */
export function receiveFrom(fd: number, data: Buffer, flags: number, from: Buffer): number | undefined {
  const length = Buffer.alloc(4)
  length.writeUInt32LE(from.length)
  return unlessAgain(c.recvfrom(fd, data, data.length, flags | 0x40, from, length), 'recvfrom')
}

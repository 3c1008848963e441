import { constants } from 'node:os'

/** The failures a caller can be told about by name; each has one name on D-Bus (spec/dbus.md 0.3). */
export type ErrorCode =
  | 'InvalidArgs'
  | 'AccessDenied'
  | 'NotSupported'
  | 'LimitsExceeded'
  | 'FileNotFound'
  | 'FileExists'
  | 'Failed'
  | 'UnixProcessIdUnknown'
  | 'InteractiveAuthorizationRequired'
  | 'UnknownMethod'
  | 'UnknownInterface'
  | 'UnknownObject'
  | 'UnknownProperty'
  | 'PropertyReadOnly'
  | 'NoSuchMachine'
  | 'NoSuchImage'
  | 'NoMachineForPID'
  | 'MachineExists'
  | 'NoPrivateNetworking'
  | 'NoSuchUserMapping'
  | 'NoSuchGroupMapping'
  | 'JobFailed'

/** An expected failure: the caller asked for something that cannot be had. The message is for the user. */
export class MachinedError extends Error {
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    // Where it came from says nothing that the message does not, and takes as long to find out as all else of a refused call.
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    super(message, options)
    Error.stackTraceLimit = limit
    this.name = 'MachinedError'
    this.code = code
  }
}

/** A failure the kernel reported, shaped like Node's own so that both kinds are handled alike. */
export class SystemError extends Error {
  readonly code: string
  /** Positive, as in errno(3). */
  readonly errno: number
  readonly syscall: string
  readonly path?: string

  constructor(errno: number, syscall: string, path?: string) {
    const code = errnoName(errno)
    super(`${code}: ${strerror(code)}, ${syscall}${path === undefined ? '' : ` '${path}'`}`)
    this.name = 'SystemError'
    this.code = code
    this.errno = errno
    this.syscall = syscall
    if (path !== undefined) this.path = path
  }
}

/** Builds the error for a failed system call. `errno` is positive, as in errno(3). */
export function systemError(errno: number, syscall: string, path?: string): SystemError {
  return new SystemError(errno, syscall, path)
}

/** Whether `error` carries an errno name, whoever threw it: Node's fs or our own calls. */
export function isSystemError(error: unknown): error is Error & { code: string; syscall: string } {
  return error instanceof Error && typeof (error as { code?: unknown }).code === 'string' && 'syscall' in error
}

/** What `work` gives; undefined when a system call of it fails, for any reason. */
export function ifPossible<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch (error) {
    if (isSystemError(error)) return undefined
    throw error
  }
}

/**
 * A failed system call with what it prevented, for the caller to read: `Failed to pin process 5: No such process`.
 * Its code is that of the failure.
 */
export class ExplainedError extends Error {
  readonly explanation: string
  readonly code: string
  readonly syscall: string

  constructor(explanation: string, cause: { readonly code: string; readonly syscall: string }) {
    super(`${explanation}: ${strerror(cause.code)}`, { cause })
    this.name = 'ExplainedError'
    this.explanation = explanation
    this.code = cause.code
    this.syscall = cause.syscall
  }
}

/** What to throw in place of a failure of `explanation`: system errors are explained, all others say enough themselves. */
export function explain(explanation: string, error: unknown): unknown {
  return isSystemError(error) ? new ExplainedError(explanation, error) : error
}

/** The texts of strerror(3) for the codes that reach clients; libuv's own wording differs from the C library's. */
const texts: Readonly<Record<string, string>> = {
  EPERM: 'Operation not permitted',
  ENOENT: 'No such file or directory',
  ESRCH: 'No such process',
  EINTR: 'Interrupted system call',
  EIO: 'Input/output error',
  EPIPE: 'Broken pipe',
  EAGAIN: 'Resource temporarily unavailable',
  ECONNRESET: 'Connection reset by peer',
  ECONNREFUSED: 'Connection refused',
  ENODEV: 'No such device',
  ENXIO: 'No such device or address',
  EBADF: 'Bad file descriptor',
  ENOMEM: 'Cannot allocate memory',
  EACCES: 'Permission denied',
  EBUSY: 'Device or resource busy',
  EEXIST: 'File exists',
  ENOTDIR: 'Not a directory',
  EINVAL: 'Invalid argument',
  ENOTTY: 'Inappropriate ioctl for device',
  EDEADLK: 'Resource deadlock avoided',
  ECANCELED: 'Operation canceled',
  EMFILE: 'Too many open files',
  ENOSPC: 'No space left on device',
  EROFS: 'Read-only file system',
  ELOOP: 'Too many levels of symbolic links',
  EBADMSG: 'Bad message',
  ENOMSG: 'No message of desired type',
  EOPNOTSUPP: 'Operation not supported',
  // The same number as EOPNOTSUPP on Linux, and the name that Node's tables have first.
  ENOTSUP: 'Operation not supported',
  ENOTCONN: 'Transport endpoint is not connected',
  ETIMEDOUT: 'Connection timed out',
  ENODATA: 'No data available',
  ENOBUFS: 'No buffer space available',
  EADDRNOTAVAIL: 'Cannot assign requested address',
  ENAMETOOLONG: 'File name too long',
  EFBIG: 'File too large',
  EOVERFLOW: 'Value too large for defined data type',
  EISDIR: 'Is a directory',
  ENOTEMPTY: 'Directory not empty',
  EDQUOT: 'Disk quota exceeded',
  ESTALE: 'Stale file handle',
  ENOTUNIQ: 'Name not unique on network',
  EUNATCH: 'Protocol driver not attached',
  ENOKEY: 'Required key not available',
  ENOPKG: 'Package not installed',
  ENOMEDIUM: 'No medium found',
  EAFNOSUPPORT: 'Address family not supported by protocol'
}

/** libuv's own map lacks some of the kernel's errors, EBADMSG among them; the C library's is whole. */
const errnoNames = new Map<number, string>()
for (const [name, errno] of Object.entries(constants.errno)) if (!errnoNames.has(errno)) errnoNames.set(errno, name)

function errnoName(errno: number): string {
  return errnoNames.get(errno) ?? `E${String(errno)}`
}

/** strerror(3) of an errno name such as `ENOENT`. */
export function strerror(code: string): string {
  return texts[code] ?? code
}

/** The errno name that a text of strerror(3) belongs to, if it is one of those above. */
export function strerrorCode(text: string): string | undefined {
  return Object.entries(texts).find(([, known]) => known === text)?.[0]
}

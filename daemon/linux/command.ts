import { execFile, spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { constants as os } from 'node:os'
import { isSystemError, systemError } from '../base/errors.ts'

/*
 * The one place where programs of the host are run. By Node's own means, as execa would make the daemon half as big again,
 * and it starts by reading all of itself.
 */

const ENVIRONMENT = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8' }
/** For programs that are talked to, lest they keep what they were told in a file. */
const NOBODYS_HOME = '/dev/null'

/** What a program left behind. */
export interface CommandResult {
  readonly stdout: string
  readonly stderr: string
  /** Undefined if a signal ended it. */
  readonly exitCode: number | undefined
}

/** How a program is run. */
export interface CommandOptions {
  /** When it is killed. */
  readonly deadlineMs: number
  /** How many bytes of each stream are taken at most; one that prints more is killed. */
  readonly limit: number
}

/** A program that runs, and whether it is still there. */
export interface FollowedCommand {
  /** Throws as runCommand() does. */
  readonly result: Promise<CommandResult>
  /** Kept when the program is gone, which one that hangs in the kernel may never be. */
  readonly ended: Promise<void>
}

/**
 * Runs a program of the host without input, in an environment of its own. Throws ENOENT when there is none of that name,
 * ETIMEDOUT past the deadline, EFBIG when it printed too much.
 */
export function runCommand(file: string, args: readonly string[], options: CommandOptions): Promise<CommandResult> {
  return followCommand(file, args, options).result
}

/** The same for who wants to know when the program is gone. */
export function followCommand(
  file: string,
  args: readonly string[],
  { deadlineMs, limit }: CommandOptions
): FollowedCommand {
  let isGone = (): void => undefined
  const ended = new Promise<void>((resolve) => (isGone = resolve))
  const result = new Promise<CommandResult>((resolve, reject) => {
    const options = { env: ENVIRONMENT, killSignal: 'SIGKILL', maxBuffer: limit } as const
    const child = execFile(file, args, options, (error, stdout, stderr) => {
      clearTimeout(deadline)
      isGone()
      if (isSystemError(error)) reject(error)
      else if (isTooLong(error)) reject(systemError(os.errno.EFBIG, 'run', file))
      else resolve({ stdout, stderr, exitCode: exitCodeOf(error) })
    })
    const deadline = setTimeout(() => {
      child.kill('SIGKILL')
      reject(systemError(os.errno.ETIMEDOUT, 'run', file))
    }, deadlineMs)
    child.stdin?.end()
  })
  return { result, ended }
}

/** Starts a program of the host that is talked to, in an environment of its own. Its 'error' says when there is none. */
export function startCommand(file: string, args: readonly string[]): ChildProcessWithoutNullStreams {
  return spawn(file, args, { env: { ...ENVIRONMENT, HOME: NOBODYS_HOME } })
}

function isTooLong(error: Error | null): boolean {
  return (error as { code?: unknown } | null)?.code === 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER'
}

function exitCodeOf(error: { readonly code?: unknown } | null): number | undefined {
  if (error === null) return 0
  return typeof error.code === 'number' ? error.code : undefined
}

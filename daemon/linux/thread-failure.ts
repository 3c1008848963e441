import { constants as os } from 'node:os'
import { ExplainedError, MachinedError, isSystemError, systemError, type ErrorCode } from '../base/errors.ts'

/** An error in a form that survives the way between threads. */
export type Failure =
  | { readonly errno: number; readonly syscall: string; readonly path: string | undefined }
  | { readonly explanation: string; readonly code: string; readonly syscall: string }
  | { readonly code: ErrorCode; readonly message: string }
  | { readonly bug: unknown }

/** Packs an error up. */
export function describeFailure(error: unknown): Failure {
  if (error instanceof MachinedError) return { code: error.code, message: error.message }
  if (error instanceof ExplainedError) {
    return { explanation: error.explanation, code: error.code, syscall: error.syscall }
  }
  if (!isSystemError(error)) return { bug: error }
  const { errno, path } = error as { errno?: number; path?: string }
  // Node's own have it negative.
  return { errno: Math.abs(errno ?? os.errno.EIO), syscall: error.syscall, path }
}

/** Unpacks it. */
export function errorOfFailure(failure: Failure): Error {
  if ('errno' in failure) return systemError(failure.errno, failure.syscall, failure.path)
  if ('explanation' in failure) return new ExplainedError(failure.explanation, failure)
  return 'bug' in failure ? (failure.bug as Error) : new MachinedError(failure.code, failure.message)
}

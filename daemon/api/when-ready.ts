export type MaybePromise<T> = T | Promise<T>

/** Runs `next` at once if `value` is there, so that what needs no waiting is answered in the same turn. */
export function whenReady<T, R>(value: MaybePromise<T>, next: (value: T) => MaybePromise<R>): MaybePromise<R> {
  return value instanceof Promise ? value.then(next) : next(value)
}

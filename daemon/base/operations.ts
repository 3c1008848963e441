import { EventEmitter } from 'node:events'
import { constants as os } from 'node:os'
import { MachinedError, systemError } from './errors.ts'

/** How many operations run at a time, of all kinds together (spec/dbus.md 8.11). */
export const MOST_OPERATIONS = 64

export type OperationKind = 'copy' | 'clone' | 'remove' | 'clean'

/** How far an operation is: what it has written, and how many files, directories and the like it is done with. */
export interface Progress {
  readonly bytes: number
  readonly files: number
}

/** What an operation is about: a machine, whose end is its end too, or an image. */
export interface Subject {
  readonly name: string
}

/** Something that takes long and is under way in the background. */
export class Operation {
  /** No other operation of this daemon has it. */
  readonly id: number
  readonly kind: OperationKind
  /** Undefined for what is about all images. */
  readonly subject: Subject | undefined
  /** To be called when `progress` has become more; not too often, as others may be told. */
  readonly moved: () => void
  readonly #controller = new AbortController()
  #progress: () => Progress = () => ({ bytes: 0, files: 0 })

  constructor(id: number, kind: OperationKind, subject: Subject | undefined, moved: (operation: Operation) => void) {
    this.id = id
    this.kind = kind
    this.subject = subject
    this.moved = () => {
      moved(this)
    }
  }

  /** Aborted when the operation is cancelled. Its `throwIfAborted` throws SystemError ECANCELED. */
  get signal(): AbortSignal {
    return this.#controller.signal
  }

  get progress(): Progress {
    return this.#progress()
  }

  /** Says where `progress` is to be asked for from now on. */
  reportFrom(progress: () => Progress): void {
    this.#progress = progress
  }

  /** Lets whoever waits have ECANCELED now, and tells the work to stop as soon as it can. */
  cancel(): void {
    this.#controller.abort(systemError(os.errno.ECANCELED, this.kind))
  }
}

interface Events {
  begun: [operation: Operation]
  moved: [operation: Operation]
  ended: [operation: Operation, failure?: unknown]
}

/** The operations that are under way. Emits `begun`, `moved` when one has come further, and `ended`, with what it failed with. */
export class Operations extends EventEmitter<Events> {
  readonly #running = new Set<Operation>()
  #closed = false
  #count = 0

  constructor() {
    super()
    // One for each client that follows them.
    this.setMaxListeners(0)
  }

  /** Throws LimitsExceeded while there is no place for one more. */
  requirePlace(kind: OperationKind): void {
    if (this.#running.size < MOST_OPERATIONS) return
    const what = kind === 'copy' ? 'copies' : 'operations'
    throw new MachinedError('LimitsExceeded', `Too many ongoing ${what}.`)
  }

  all(): Iterable<Operation> {
    return this.#running
  }

  /** How many are under way. */
  get size(): number {
    return this.#running.size
  }

  /**
   * Begins one and gives what `work` comes to. A cancelled one is over for the caller at once, with ECANCELED, but
   * keeps its place until `work` has come to an end, for till then it may hold a thread. Throws LimitsExceeded.
   */
  async run<T>(
    kind: OperationKind,
    subject: Subject | undefined,
    work: (operation: Operation) => Promise<T>
  ): Promise<T> {
    this.requirePlace(kind)
    const operation = new Operation(++this.#count, kind, subject, (moved) => this.emit('moved', moved))
    if (this.#closed) operation.cancel()
    operation.signal.throwIfAborted()
    this.#running.add(operation)
    this.emit('begun', operation)
    const result = work(operation).finally(() => this.#running.delete(operation))
    result.then(
      () => this.emit('ended', operation),
      (error: unknown) => this.emit('ended', operation, error)
    )
    return new Promise((resolve, reject) => {
      operation.signal.addEventListener('abort', () => {
        reject(operation.signal.reason as Error)
      })
      result.then(resolve, reject)
    })
  }

  /** Cancels what belongs to `subject`. */
  cancelOf(subject: Subject): void {
    for (const operation of this.#running) if (operation.subject === subject) operation.cancel()
  }

  /** Cancels all, and lets none begin any more. */
  close(): void {
    this.#closed = true
    for (const operation of this.#running) operation.cancel()
  }
}

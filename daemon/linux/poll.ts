import { systemError } from '../base/errors.ts'
import { nodeMajor } from '../base/node-version.ts'
import { addressOf, closeFd, registerCallback, uv } from './libc.ts'

/** What a poll reports; `error` is a positive errno, 0 for none. A hang-up counts as readable, so the read tells. */
export interface PollEvents {
  readable: boolean
  writable: boolean
  error: number
}

const UV_POLL = 8
const readable = 1
const writable = 2
const urgent = 8

let handleSize: number | undefined

/** All live handles by address: the C callbacks know only that, and an entry keeps the handle's memory from being freed. */
const polls = new Map<bigint, Poll>()

/**
 * From this Node on, ticks and promises do not run after what C has called, but only after a callback of Node's own: an
 * immediate is the next one.
 */
const FIRST_WITHOUT_TICKS = 26
let isFollowed = nodeMajor < FIRST_WITHOUT_TICKS

function runTicks(): void {
  if (isFollowed) return
  isFollowed = true
  setImmediate(() => (isFollowed = false))
}

/** An exception must not leave a function that C called; it surfaces as an uncaught one right after. */
function guarded(run: () => void): void {
  runTicks()
  try {
    run()
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}

let callbacks: { event: bigint; close: bigint } | undefined

/** Registered once and on first use, so that merely importing this file costs nothing (a worker has no use for it). */
function sharedCallbacks(): { event: bigint; close: bigint } {
  callbacks ??= {
    event: registerCallback(
      'void machined_poll_event(uintptr_t handle, int status, int events)',
      (handle: number | bigint, status: number, events: number) => {
        guarded(() => polls.get(BigInt(handle))?.[deliver](status, events))
      }
    ),
    close: registerCallback('void machined_poll_close(uintptr_t handle)', (handle: number | bigint) => {
      guarded(() => polls.get(BigInt(handle))?.[closed]())
    })
  }
  return callbacks
}

const deliver = Symbol('deliver')
const closed = Symbol('closed')

/**
 * Watches a descriptor on Node's own event loop, through libuv's uv_poll. A descriptor can have one Poll at a time.
 * Promises and ticks run after the callback, as after any of Node's own.
 */
export class Poll {
  readonly #fd: number
  readonly #callback: (events: PollEvents) => void
  readonly #ownsFd: boolean
  /** The uv_poll_t: read and written by libuv until the close callback has run. */
  readonly #memory: Buffer
  readonly #handle: bigint
  #watched = 0
  #closing = false

  /** Throws SystemError when the descriptor cannot be polled (EPERM for a regular file, EEXIST when already watched). */
  constructor(fd: number, callback: (events: PollEvents) => void, options: { ownsFd?: boolean } = {}) {
    this.#fd = fd
    this.#callback = callback
    this.#ownsFd = options.ownsFd ?? false
    this.#memory = Buffer.alloc((handleSize ??= uv.handleSize(UV_POLL)))
    this.#handle = addressOf(this.#memory)
    const result = uv.pollInit(uv.defaultLoop(), this.#handle, fd)
    if (result < 0) throw systemError(-result, 'uv_poll_init')
    polls.set(this.#handle, this)
  }

  /** Watches for these events from now on, instead of those before. Files in /proc tell of changes as urgent (POLLPRI). */
  start(events: { readable?: boolean; writable?: boolean; urgent?: boolean }): void {
    const mask =
      (events.readable === true ? readable : 0) |
      (events.writable === true ? writable : 0) |
      (events.urgent === true ? urgent : 0)
    if (this.#closing || mask === this.#watched) return
    const result = mask === 0 ? uv.pollStop(this.#handle) : uv.pollStart(this.#handle, mask, sharedCallbacks().event)
    if (result < 0) throw systemError(-result, 'uv_poll_start')
    this.#watched = mask
  }

  /** Watches for nothing until the next start(). */
  stop(): void {
    this.start({})
  }

  /** Ends the watch for good; no callback runs after this. An owned descriptor is closed once libuv let go of it. */
  close(): void {
    if (this.#closing) return
    this.stop()
    this.#closing = true
    uv.close(this.#handle, sharedCallbacks().close)
  }

  /** Lets the process end although this watch goes on. */
  unref(): void {
    if (!this.#closing) uv.unref(this.#handle)
  }

  /** Undoes unref(). */
  ref(): void {
    if (!this.#closing) uv.ref(this.#handle)
  }

  [deliver](status: number, events: number): void {
    if (this.#closing) return
    // libuv stops the handle itself when it reports an error.
    if (status < 0) this.#watched = 0
    this.#callback({
      readable: (events & readable) !== 0,
      writable: (events & writable) !== 0,
      error: status < 0 ? -status : 0
    })
  }

  [closed](): void {
    polls.delete(this.#handle)
    if (this.#ownsFd) closeFd(this.#fd)
  }
}

import { extname } from 'node:path'
import { type MessagePort, Worker } from 'node:worker_threads'

/** Little garbage is let pile up. The stack is for the deepest tree. */
const resourceLimits = { maxYoungGenerationSizeMb: 1, stackSizeMb: 4 }

/** A second thread that a thread has for what is worth it, from the first time on. It ends with the thread that has it. */
export class Companion {
  readonly #entry: URL
  #worker: Worker | undefined

  /** `name` is that of a module beside this one, which serves what is posted. */
  constructor(name: string) {
    this.#entry = new URL(`./${name}${extname(import.meta.url)}`, import.meta.url)
  }

  get isThere(): boolean {
    return this.#worker !== undefined
  }

  /** Starts it before there is anything to do, so that it is there in time. */
  prepare(): void {
    this.#running()
  }

  /** Starts it if need be. It takes some 50 ms to come; who waits for what it does has to do without till then. */
  post(message: unknown, transfer: readonly MessagePort[] = []): void {
    this.#running().postMessage(message, transfer)
  }

  #running(): Worker {
    return (this.#worker ??= this.#start())
  }

  #start(): Worker {
    // Descriptors and memory are those of the thread that has it.
    const worker = new Worker(this.#entry, { trackUnmanagedFds: false, resourceLimits })
    worker.once('error', () => (this.#worker = undefined)).unref()
    return worker
  }
}

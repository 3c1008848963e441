import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import type { TestHost } from '../host/host.ts'

/** A person at a terminal of a host: script(1) gives the command a real one. */
export class Terminal {
  readonly #host: TestHost
  readonly #process: ChildProcessWithoutNullStreams
  readonly #closed: Promise<unknown[]>
  #seen = ''

  /** Runs a shell command on a new terminal. */
  constructor(host: TestHost, command: string, options: { user?: string } = {}) {
    this.#host = host
    this.#process = host.spawn(['env', 'TERM=xterm', 'script', '-qec', command, '/dev/null'], options)
    this.#closed = once(this.#process, 'close')
    this.#process.stdout.setEncoding('utf8').on('data', (text: string) => (this.#seen += text))
  }

  /** All that has been shown so far. */
  get seen(): string {
    return this.#seen
  }

  /** Waits till something is shown. Throws after 30 s. */
  async until(what: RegExp): Promise<void> {
    try {
      await this.#host.waitFor(() => what.test(this.#seen), String(what))
    } catch (error) {
      throw new Error(`Shown was ${JSON.stringify(this.#seen)}`, { cause: error })
    }
  }

  /** Types at the terminal. */
  type(text: string): void {
    this.#process.stdin.write(text)
  }

  /** Waits till the command has ended; gives what was shown and its exit status. */
  async end(): Promise<{ seen: string; status: number }> {
    const [status] = await this.#closed
    return { seen: this.#seen, status: Number(status) }
  }
}

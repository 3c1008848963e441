import { MachinedError } from '../base/errors.ts'
import { startCommand } from './command.ts'

/** What nft answers by itself, whatever the kernel's rules are, and how it begins in every version. */
const QUESTION = 'describe tcp dport'
const ANSWER = 'payload expression, datatype '
const LIMIT = 64 * 1024

/**
 * An nft(8) that takes one line after the other. To start one takes longer than most of what it is started for, and one
 * that ends waits until the kernel has thrown away what was there before.
 */
export class NftShell {
  readonly #process = startCommand('nft', ['-i'])
  readonly #deadlineMs: number
  #heard = ''
  #complaints = ''
  #settle: (failure?: Error) => void = () => undefined
  #isOver = false

  /** A line that takes longer than the deadline ends it. */
  constructor(deadlineMs: number) {
    this.#deadlineMs = deadlineMs
    const { stdin, stdout, stderr } = this.#process
    stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#hear(text)
    })
    stderr
      .setEncoding('utf8')
      .on('data', (text: string) => (this.#complaints = (this.#complaints + text).slice(0, LIMIT)))
    stdin.on('error', (error) => {
      this.#end(error)
    })
    this.#process.on('error', (error) => {
      this.#end(error)
    })
    this.#process.on('exit', (code, signal) => {
      this.#end(new MachinedError('Failed', `nft has ended with ${signal ?? String(code)}`))
    })
  }

  /** The port of netlink(7) that its messages come from: it has one socket, and that is called after the process. */
  get port(): number | undefined {
    return this.#process.pid
  }

  /**
   * Has a line carried out; resolves once that is done. Rejects with all that nft says about it, and when it ends before
   * it has answered. One line at a time.
   */
  async run(line: string): Promise<void> {
    if (this.#isOver) throw new MachinedError('Failed', 'nft has ended')
    this.#complaints = ''
    const timer = setTimeout(() => {
      this.close()
    }, this.#deadlineMs)
    try {
      await new Promise<void>((resolve, reject) => {
        this.#settle = (failure) => {
          if (failure === undefined) resolve()
          else reject(failure)
        }
        this.#process.stdin.write(`${line}\n${QUESTION}\n`)
      })
    } finally {
      clearTimeout(timer)
    }
    if (this.#complaints !== '') throw new MachinedError('Failed', this.#complaints.trim())
  }

  /** Ends it, whatever it does. */
  close(): void {
    this.#process.kill('SIGKILL')
  }

  #hear(text: string): void {
    this.#heard = (this.#heard + text).slice(-LIMIT)
    if (!this.#heard.includes(ANSWER)) return
    this.#heard = ''
    // What it has complained of before is there, but may be read after this.
    setImmediate(() => {
      this.#settle()
    })
  }

  #end(reason: Error): void {
    this.#isOver = true
    this.#settle(reason)
  }
}

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { PidRef } from '../../daemon/linux/process.ts'

/** A process in a network namespace of its own, after a shell script has set that up. Needs root. */
export class ThrowAwayNetwork {
  readonly process: PidRef
  readonly #end: () => Promise<void>

  private constructor(process: PidRef, end: () => Promise<void>) {
    this.process = process
    this.#end = end
  }

  /** Throws when the script fails. */
  static async start(script: string): Promise<ThrowAwayNetwork> {
    const argv = ['--net', '--', 'sh', '-ec', `${script}\necho ready\nexec sleep infinity`]
    const child = spawn('unshare', argv, { stdio: ['ignore', 'pipe', 'inherit'] })
    const exit = once(child, 'exit')
    const end = async (): Promise<void> => {
      child.kill('SIGKILL')
      await exit
    }
    const [line] = (await Promise.race([once(child.stdout, 'data'), exit])) as [unknown]
    if (String(line) !== 'ready\n') throw new Error(`The network could not be set up: ${String(line)}`)
    return new ThrowAwayNetwork(PidRef.pin(child.pid ?? 0), end)
  }

  /** Ends the process, and with it the namespace. */
  async stop(): Promise<void> {
    this.process.close()
    await this.#end()
  }
}

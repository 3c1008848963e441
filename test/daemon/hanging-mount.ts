import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { TestHost } from '../host/host.ts'

const SCRIPT = `
exec 3<>/dev/fuse
exec nsenter --mount --root --target "$0" sh -euc '
  mount -i -t fuse -o "fd=3,rootmode=$1,user_id=0,group_id=0,allow_other" hang "$0"
  echo mounted
  exec sleep infinity' "$1" "$2"
`

/** A file or directory of a process's mount namespace that never answers: a FUSE mount whose server reads no requests. */
export class HangingMount {
  readonly #server: ChildProcess

  private constructor(server: ChildProcess) {
    this.#server = server
  }

  /** Mounts it over `path`. */
  static async start(host: TestHost, leader: string, path: string, kind: 'file' | 'directory'): Promise<HangingMount> {
    const mode = kind === 'file' ? '100644' : '40000'
    const server = host.spawn(['sh', '-euc', SCRIPT, leader, path, mode])
    server.stderr.pipe(process.stderr)
    await once(server.stdout, 'data')
    return new HangingMount(server)
  }

  /** Ends the server, so that whoever waits for it gets an error. */
  async abort(): Promise<void> {
    if (this.#server.exitCode !== null || this.#server.signalCode !== null) return
    const exit = once(this.#server, 'exit')
    this.#server.kill('SIGKILL')
    await exit
  }
}

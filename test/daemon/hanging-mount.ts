import type { ChildProcess, ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestHost } from '../host/host.ts'
import { projectDirectory } from '../host/root.ts'

const SCRIPT = `
exec 3<>/dev/fuse
exec nsenter --mount --root --target "$0" sh -euc '
  mount -i -t fuse -o "fd=3,rootmode=$1,user_id=0,group_id=0,allow_other,default_permissions" hang "$0"
  echo mounted
  exec sleep infinity' "$1" "$2"
`

/** A file or directory that never answers: a FUSE mount whose server reads no requests, or answers only some. */
export class HangingMount {
  readonly #server: ChildProcess

  private constructor(server: ChildProcess) {
    this.#server = server
  }

  /** Mounts it over `path` in the mount namespace of a process. */
  static start(host: TestHost, leader: string, path: string, kind: 'file' | 'directory'): Promise<HangingMount> {
    const mode = kind === 'file' ? '100644' : '40000'
    return HangingMount.#of(host.spawn(['sh', '-euc', SCRIPT, leader, path, mode]))
  }

  /** Mounts one over `path` that can be looked at, but neither read nor changed (hanging-changes.py). */
  static ofChanges(host: TestHost, path: string, kind: 'file' | 'directory'): Promise<HangingMount> {
    const script = readFileSync(join(projectDirectory(), 'test/daemon/hanging-changes.py'), 'utf8')
    return HangingMount.#of(host.spawn(['python3', '-c', script, path, kind]))
  }

  static async #of(server: ChildProcessWithoutNullStreams): Promise<HangingMount> {
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

import { spawn, type ChildProcess, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import { createCgroup, removeCgroup } from './cgroup.ts'
import { guestRoot, hostRoot, installedProject, projectDirectory, type RootName } from './root.ts'

/** What TestHost.start() boots: debian13 with our daemon unless told otherwise. */
export interface HostOptions {
  root?: RootName
  machined?: 'ours' | 'stock'
  /** Which message broker is the system bus. Only the root `testing` has dbus-broker. */
  broker?: 'dbus-daemon' | 'dbus-broker'
}

/** How TestHost.run() runs a command; as root, with no input, and rejecting when it fails unless told otherwise. */
export interface RunOptions {
  user?: string
  input?: string
  reject?: boolean
}

/** What a command printed (without the last newline) and its exit code. */
export interface RunResult {
  stdout: string
  stderr: string
  exitCode: number
}

const WAIT_MS = 30_000
const POLL_MS = 50
const UNIT = 'systemd-machined.service'
// The stock one from systemd 258 on; ours always.
const SOCKET = 'systemd-machined.socket'
const STOCK_UNITS = '/usr/lib/systemd/system'
// Above /etc in systemd's search path, so it wins wherever `make install` put ours (systemd.unit(5)).
const OVERRIDE_UNITS = '/run/systemd/system.control'
const AS_USER = 'exec setpriv --reuid="$0" --regid="$(id -g "$0")" --init-groups --pdeathsig KILL -- "$@"'

const ENVIRONMENT = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  LANG: 'C.UTF-8',
  HOME: '/root',
  SYSTEMD_PAGER: 'cat',
  SYSTEMD_COLORS: '0'
}

/**
 * A whole systemd host in namespaces: real PID 1, bus, logind, polkit and nspawn, with a network and a disk of its own.
 * Needs root. Nothing it does reaches this machine, and it ends with this process whatever happens.
 */
export class TestHost {
  /** The host's PID 1 as this machine numbers it. */
  readonly pid: number
  readonly #cgroup: string
  readonly #process: ChildProcess
  readonly #rootPath: string
  readonly #machined: 'ours' | 'stock'

  private constructor(start: {
    pid: number
    cgroup: string
    process: ChildProcess
    rootPath: string
    machined: 'ours' | 'stock'
  }) {
    this.pid = start.pid
    this.#cgroup = start.cgroup
    this.#process = start.process
    this.#rootPath = start.rootPath
    this.#machined = start.machined
  }

  /** Boots a host and waits till it is up. Builds what is not in the cache yet. Throws when it does not come up in 30 s. */
  static async start(options: HostOptions = {}): Promise<TestHost> {
    const machined = options.machined ?? 'ours'
    const root = await hostRoot(options.root ?? 'debian13')
    const guest = await guestRoot()
    const staging = machined === 'ours' ? await installedProject(root) : '-'
    const cgroup = createCgroup()
    const script = join(projectDirectory(), 'test/host/boot')
    const args = [
      '--pdeathsig',
      'KILL',
      '--',
      '/bin/sh',
      script,
      root.path,
      guest,
      staging,
      cgroup,
      options.broker ?? 'dbus-daemon'
    ]
    const process = spawn('setpriv', args, { stdio: ['ignore', 'ignore', 'pipe'] })
    let stderr = ''
    process.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    try {
      const pid = await findInit(process)
      const host = new TestHost({ pid, cgroup, process, rootPath: root.path, machined })
      await host.#waitTillUp()
      return host
    } catch (error) {
      await kill(process)
      await removeCgroup(cgroup)
      throw new Error(`The test host did not start: ${stderr}`, { cause: error })
    }
  }

  /** Runs a command in the host. Rejects (unless `reject` is false) when it exits with something else than 0. */
  async run(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    const [file, ...args] = this.enterCommand(argv, options.user)
    const result = await execa(file, args, {
      input: options.input ?? '',
      reject: options.reject ?? true,
      env: ENVIRONMENT,
      extendEnv: false
    })
    return { stdout: result.stdout, stderr: result.stderr, exitCode: result.exitCode ?? -1 }
  }

  /** Starts a command that goes on; it ends with the host, or when the child process returned here is killed. */
  spawn(argv: readonly string[], options: { user?: string } = {}): ChildProcessWithoutNullStreams {
    const [file, ...args] = this.enterCommand(argv, options.user)
    return spawn(file, args, { env: ENVIRONMENT })
  }

  /** The command of this machine that runs `argv` inside the host, in a cgroup of the host and with the caller's terminal. */
  enterCommand(argv: readonly string[], user?: string): [string, ...string[]] {
    // A test runner gives its options to each node below it; what they name does not exist in the host.
    const join = 'unset NODE_OPTIONS; echo 0 >"$0/cgroup.procs" && exec nsenter "$@"'
    const namespaces = ['--mount', '--pid', '--uts', '--ipc', '--net', '--cgroup', '--root', '--wd']
    // nsenter stays behind as the parent; without the death signal, killing it would leave the command running.
    const become = user === undefined ? ['setpriv', '--pdeathsig', 'KILL', '--'] : ['sh', '-c', AS_USER, user]
    return [
      'sh',
      '-c',
      join,
      this.#commandCgroup(),
      `--target=${String(this.pid)}`,
      ...namespaces,
      '--',
      ...become,
      ...argv
    ]
  }

  /** Writes a file of the host, making its directory when needed. */
  async writeFile(path: string, text: string): Promise<void> {
    await this.run(['sh', '-c', 'mkdir -p "$(dirname "$0")" && cat >"$0"', path], { input: text })
  }

  /** Reads a file of the host. */
  async readFile(path: string): Promise<string> {
    const [file, ...args] = this.enterCommand(['cat', '--', path])
    const { stdout } = await execa(file, args, { stripFinalNewline: false, env: ENVIRONMENT, extendEnv: false })
    return stdout
  }

  /** Puts systemd's own machined in place of ours while machines run on. */
  async useStock(): Promise<void> {
    if (this.#machined === 'stock') return
    for (const name of [UNIT, SOCKET]) {
      const stock = join(this.#rootPath, STOCK_UNITS, name)
      if (existsSync(stock)) await this.writeFile(join(OVERRIDE_UNITS, name), readFileSync(stock, 'utf8'))
    }
    await this.run(['systemctl', 'stop', SOCKET, UNIT], { reject: false })
    await this.#reloadUnits()
    if (existsSync(join(this.#rootPath, STOCK_UNITS, SOCKET))) await this.run(['systemctl', 'start', SOCKET])
    await this.run(['systemctl', 'start', UNIT])
  }

  /** Puts our machined back after useStock(). Throws on a host that was started with `machined: 'stock'`. */
  async useOurs(): Promise<void> {
    if (this.#machined === 'stock') throw new Error('This host was started without our machined')
    await this.run(['systemctl', 'stop', SOCKET, UNIT], { reject: false })
    await this.run(['rm', '-f', join(OVERRIDE_UNITS, UNIT), join(OVERRIDE_UNITS, SOCKET)])
    await this.#reloadUnits()
    await this.run(['systemctl', 'start', UNIT])
  }

  /** Boots the guest image with systemd-nspawn in a unit of its own and waits till it is up and machined has registered it. */
  async startContainer(name: string, args: readonly string[] = []): Promise<void> {
    const layers = `/run/test-host/containers/${name}`
    const root = `/var/lib/machines/${name}`
    await this.run(['mkdir', '-p', `${layers}/upper`, `${layers}/work`, root])
    // A directory of its own for each: nspawn locks the one it runs.
    if ((await this.run(['mountpoint', '-q', root], { reject: false })).exitCode !== 0) {
      const dirs = `lowerdir=/run/test-host/guest,upperdir=${layers}/upper,workdir=${layers}/work`
      await this.run(['mount', '-t', 'overlay', '-o', dirs, name, root])
    }
    const nspawn = [
      'systemd-nspawn',
      '-q',
      '-D',
      root,
      '-b',
      '-M',
      name,
      '--register=yes',
      '--notify-ready=yes',
      ...args
    ]
    // Returns when the container's PID 1 says it is up: one that is asked to stop before that ignores the signal.
    const unit = ['systemd-run', '-q', '--collect', `--unit=test-container-${name}`, '--service-type=notify']
    await this.run([...unit, '-p', 'KillMode=mixed', '-p', 'TimeoutStartSec=30', ...nspawn])
    const isRegistered = async (): Promise<boolean> =>
      (await this.run(['machinectl', 'show', name, '--property=Leader'], { reject: false })).exitCode === 0
    await this.waitFor(isRegistered, `container ${name} to be registered`)
  }

  /** Asks again and again till the condition holds. Throws an error naming `what` after 30 s. */
  async waitFor(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
    const end = Date.now() + WAIT_MS
    while (!(await condition())) {
      if (Date.now() > end) throw new Error(`Waited in vain for ${what}`)
      await sleep(POLL_MS)
    }
  }

  /** Ends the host and all in it. Can be called twice. */
  async stop(): Promise<void> {
    await kill(this.#process)
    await removeCgroup(this.#cgroup)
    // The kernel ends PID 1 only after all other processes of its namespace.
    await this.waitFor(() => isGone(this.pid), 'PID 1 to be gone')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async #waitTillUp(): Promise<void> {
    const isUp = async (): Promise<boolean> => {
      if (hasEnded(this.#process)) throw new Error('PID 1 is gone')
      const { stdout } = await this.run(['systemctl', 'is-system-running'], { reject: false })
      return stdout === 'running' || stdout === 'degraded'
    }
    await this.waitFor(isUp, 'the host to boot')
    // See the script `boot`: only PID 1's start had to be kept from these settings of the machine.
    await this.run(['umount', '/proc/sys/fs'])
  }

  /** Units are read anew, and may be started as if they never had been: changing over often would meet the start limit. */
  async #reloadUnits(): Promise<void> {
    await this.run(['systemctl', 'daemon-reload'])
    await this.run(['systemctl', 'reset-failed', UNIT, SOCKET], { reject: false })
  }

  /** A leaf of the host's cgroup tree that systemd knows nothing of. */
  #commandCgroup(): string {
    const path = join(this.#cgroup, 'test-host')
    mkdirSync(path, { recursive: true })
    return path
  }
}

/** The one child of the `unshare` process, once it has become systemd: it has all its namespaces then. */
async function findInit(process: ChildProcess): Promise<number> {
  const parent = String(process.pid)
  const end = Date.now() + WAIT_MS
  while (!hasEnded(process) && Date.now() < end) {
    const path = `/proc/${parent}/task/${parent}/children`
    const child = existsSync(path) ? readFileSync(path, 'utf8').trim() : ''
    if (child !== '' && readFileSync(`/proc/${child}/comm`, 'utf8').trim() === 'systemd') return Number(child)
    await sleep(POLL_MS)
  }
  throw new Error('systemd did not start')
}

async function kill(process: ChildProcess): Promise<void> {
  if (hasEnded(process)) return
  const exit = once(process, 'exit')
  process.kill('SIGKILL')
  await exit
}

/** Whether a process has ended, as this machine numbers it; who reaps it is not ours to say once its parent was killed. */
export function isGone(pid: number | string): boolean {
  try {
    return /\) [ZX] /.test(readFileSync(`/proc/${String(pid)}/stat`, 'utf8'))
  } catch {
    return true
  }
}

function hasEnded(process: ChildProcess): boolean {
  return process.exitCode !== null || process.signalCode !== null
}

import type { RunResult, TestHost } from '../host/host.ts'
import type { RootName } from '../host/root.ts'

const NAME = 'org.freedesktop.machine1'
const PATH = '/org/freedesktop/machine1'

/** The hosts that tests of containers run on, with the version of systemd whose clients and nspawn each brings. */
export const ROOTS: readonly { root: RootName; systemd: number }[] = [
  { root: 'debian12', systemd: 252 },
  { root: 'debian13', systemd: 257 },
  { root: 'testing', systemd: 262 }
]

/** What people and programs do with machines on a host, through stock clients only. */
export class Client {
  readonly #host: TestHost

  constructor(host: TestHost) {
    this.#host = host
  }

  /** Output of a command; throws when it fails. */
  async output(...argv: string[]): Promise<string> {
    return (await this.#host.run(argv)).stdout
  }

  /** Calls a method of the Manager with busctl; a failure is for the caller to see. */
  call(member: string, ...args: string[]): Promise<RunResult> {
    return this.#host.run(['busctl', 'call', NAME, PATH, `${NAME}.Manager`, member, ...args], { reject: false })
  }

  /** `Name=value` lines of `machinectl show`, in the order asked for where the client keeps it. Throws for an unknown machine. */
  show(name: string, ...properties: string[]): Promise<string> {
    return this.output('machinectl', 'show', name, ...properties.map((property) => `--property=${property}`))
  }

  /** One property as busctl prints it, such as `s "text"`; unlike machinectl it knows all of them. */
  property(machine: string, name: string): Promise<string> {
    return this.output('busctl', 'get-property', NAME, `${PATH}/machine/${machine}`, `${NAME}.Machine`, name)
  }

  /** PID of the machine's leader. */
  async leader(name: string): Promise<string> {
    return (await this.show(name, 'Leader')).replace('Leader=', '')
  }

  /** What must not change as long as the machine lives. */
  identity(name: string): Promise<string> {
    return this.show(name, 'Leader', 'Timestamp', 'TimestampMonotonic', 'Unit', 'Class', 'Service', 'Id')
  }

  /** Names of all files in the state directory. */
  stateFiles(): Promise<string> {
    return this.output('ls', '/run/systemd/machines')
  }

  /** The command line that the installed unit runs the daemon by. */
  async daemonCommand(): Promise<string[]> {
    const exec = await this.output('systemctl', 'show', '-P', 'ExecStart', 'systemd-machined.service')
    const argv = /argv\[\]=(.*?) ;/.exec(exec)?.[1]
    if (argv === undefined) throw new Error(`No command in ${exec}`)
    return argv.split(' ')
  }

  /** Waits till nobody knows the machine any more. */
  async waitTillGone(name: string): Promise<void> {
    const isGone = async (): Promise<boolean> => (await this.call('GetMachine', 's', name)).exitCode !== 0
    await this.#host.waitFor(isGone, `${name} to be gone`)
  }

  /** A process in a unit of its own; returns its PID. */
  async startProcess(unit: string): Promise<string> {
    await this.#host.run(['systemd-run', '-q', '--collect', `--unit=${unit}`, 'sleep', 'infinity'])
    return this.output('systemctl', 'show', '-P', 'MainPID', `${unit}.service`)
  }

  /** Registers a process as a container; a failure is for the caller to see. */
  register(name: string, leader: string): Promise<RunResult> {
    return this.call('RegisterMachine', 'sayssus', name, '0', 'test', 'container', leader, '/')
  }
}

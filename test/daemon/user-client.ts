import type { RunResult, TestHost } from '../host/host.ts'

const NAME = 'org.freedesktop.machine1'
const PATH = '/org/freedesktop/machine1'
const UNIT = 'systemd-machined.service'

/** A user of a host whose service manager and bus run without anybody logged in; what the user does with machines there. */
export class User {
  readonly name: string
  readonly uid: string
  readonly home: string
  /** $XDG_RUNTIME_DIR */
  readonly runtime: string
  readonly #host: TestHost

  private constructor(host: TestHost, name: string, uid: string) {
    this.#host = host
    this.name = name
    this.uid = uid
    this.home = `/home/${name}`
    this.runtime = `/run/user/${uid}`
  }

  /** Makes the user and waits till the user's service manager is up. */
  static async create(host: TestHost, name: string): Promise<User> {
    await host.run(['useradd', '--create-home', '--shell', '/bin/bash', name])
    const user = new User(host, name, (await host.run(['id', '-u', name])).stdout)
    await host.run(['loginctl', 'enable-linger', name])
    const isUp = async (): Promise<boolean> =>
      (await user.try('systemctl', '--user', 'is-system-running')).stdout === 'running'
    await host.waitFor(isUp, `the manager of ${name} to be up`)
    return user
  }

  /** Runs a command as the user; a failure is for the caller to see. */
  try(...argv: string[]): Promise<RunResult> {
    const environment = [`HOME=${this.home}`, `XDG_RUNTIME_DIR=${this.runtime}`]
    return this.#host.run(['env', ...environment, ...argv], { user: this.name, reject: false })
  }

  /** Output of a command; throws when it fails. */
  async output(...argv: string[]): Promise<string> {
    const { stdout, stderr, exitCode } = await this.try(...argv)
    if (exitCode !== 0) throw new Error(`${argv.join(' ')}: ${stderr}`)
    return stdout
  }

  /** Calls a method of the Manager on the user's bus; a failure is for the caller to see. */
  call(member: string, ...args: string[]): Promise<RunResult> {
    return this.try('busctl', '--user', 'call', NAME, PATH, `${NAME}.Manager`, member, ...args)
  }

  /** Calls a method of io.systemd.Machine on the user's socket; a failure is for the caller to see. */
  varlink(member: string, parameters: object): Promise<RunResult> {
    const socket = `${this.runtime}/systemd/machine/io.systemd.Machine`
    return this.try('varlinkctl', 'call', socket, `io.systemd.Machine.${member}`, JSON.stringify(parameters))
  }

  /** One property of a machine as busctl prints it. */
  property(machine: string, name: string): Promise<string> {
    return this.output('busctl', '--user', 'get-property', NAME, `${PATH}/machine/${machine}`, `${NAME}.Machine`, name)
  }

  /** Registers a process as a container; a failure is for the caller to see. */
  register(name: string, leader: string): Promise<RunResult> {
    return this.call('RegisterMachine', 'sayssus', name, '0', 'test', 'container', leader, '/')
  }

  /** A property of the user's machined as the user's manager knows it. */
  daemon(property: string): Promise<string> {
    return this.output('systemctl', '--user', 'show', '-P', property, UNIT)
  }

  /** Lets the user's manager remember how the daemon ended: it forgets units that nothing refers to. */
  async keepDaemonUnit(): Promise<void> {
    await this.output('systemd-run', '--user', '-q', '--collect', '-p', `After=${UNIT}`, 'sleep', 'infinity')
  }

  /** A shell command in a service of the user; returns the PID of its first process. */
  async startProcess(unit: string, script = 'exec sleep infinity'): Promise<string> {
    await this.output('systemd-run', '--user', '-q', '--collect', `--unit=${unit}`, 'sh', '-c', script)
    return this.output('systemctl', '--user', 'show', '-P', 'MainPID', `${unit}.service`)
  }

  /** Waits till nobody knows the machine any more. */
  async waitTillGone(name: string): Promise<void> {
    const isGone = async (): Promise<boolean> => (await this.call('GetMachine', 's', name)).exitCode !== 0
    await this.#host.waitFor(isGone, `${name} to be gone`)
  }
}

import type { TestHost, RunResult } from '../host/host.ts'
import type { Client } from './client.ts'

const LEADER = `[Service]
Type=exec
PrivateNetwork=yes
ExecStart=/bin/sleep infinity
`

/** A machine that is but a process with a network of its own: nothing in it has a word in what becomes of that. */
export class NetworkLeader {
  readonly #host: TestHost
  readonly #client: Client
  /** A letter and a digit. */
  readonly #name: string
  readonly #unit: string

  constructor(host: TestHost, client: Client, name = 'm1') {
    this.#host = host
    this.#client = client
    this.#name = name
    this.#unit = `leader-${name}.service`
  }

  /** To be called once, before all else. */
  async prepare(): Promise<void> {
    await this.#host.writeFile(`/run/systemd/system/${this.#unit}`, LEADER)
    await this.#host.run(['systemctl', 'daemon-reload'])
  }

  /** Starts the process, with a veth to it, as systemd-nspawn makes them before it registers the machine. Gives its PID. */
  async start(): Promise<string> {
    await this.#host.run(['systemctl', 'start', this.#unit])
    const leader = await this.#client.output('systemctl', 'show', '-P', 'MainPID', this.#unit)
    const mac = (end: number): string => `02:00:00:00:0${this.#name.slice(1)}:0${end}`
    const peer = ['peer', 'name', 'host0', 'address', mac(5), 'netns', leader]
    await this.#host.run(['ip', 'link', 'add', `ve-${this.#name}`, 'address', mac(4), 'type', 'veth', ...peer])
    return leader
  }

  /** A failure is for the caller to see. */
  async register(leader: string): Promise<RunResult> {
    const index = (await this.#client.output('cat', `/sys/class/net/ve-${this.#name}/ifindex`)).trim()
    const identity = [this.#name, '0', 'test', 'container', leader, '', '1', index]
    return this.#client.call('RegisterMachineWithNetwork', 'sayssusai', ...identity)
  }

  /** Ends it, and takes down what was for it alone. */
  async end(): Promise<void> {
    await this.#host.run(['systemctl', 'stop', this.#unit])
    await this.#client.waitTillGone(this.#name)
    await this.#host.run(['machinedctl', 'network', 'take-down'], { reject: false })
  }
}

import type { TestHost, RunResult } from '../host/host.ts'
import type { Client } from './client.ts'

const MAC = '02:00:00:00:00:05'

const LEADER = `[Service]
Type=exec
PrivateNetwork=yes
ExecStart=/bin/sleep infinity
`

/** A machine `m1` that is but a process with a network of its own: nothing in it has a word in what becomes of that. */
export class NetworkLeader {
  readonly #host: TestHost
  readonly #client: Client

  constructor(host: TestHost, client: Client) {
    this.#host = host
    this.#client = client
  }

  /** To be called once, before all else. */
  async prepare(): Promise<void> {
    await this.#host.writeFile('/run/systemd/system/leader.service', LEADER)
    await this.#host.run(['systemctl', 'daemon-reload'])
  }

  /** Starts the process, with a veth to it, as systemd-nspawn makes them before it registers the machine. Gives its PID. */
  async start(): Promise<string> {
    await this.#host.run(['systemctl', 'start', 'leader.service'])
    const leader = await this.#client.output('systemctl', 'show', '-P', 'MainPID', 'leader.service')
    const peer = ['peer', 'name', 'host0', 'address', MAC, 'netns', leader]
    await this.#host.run(['ip', 'link', 'add', 've-m1', 'address', '02:00:00:00:00:04', 'type', 'veth', ...peer])
    return leader
  }

  /** A failure is for the caller to see. */
  async register(leader: string): Promise<RunResult> {
    const index = (await this.#client.output('cat', '/sys/class/net/ve-m1/ifindex')).trim()
    const identity = ['m1', '0', 'test', 'container', leader, '', '1', index]
    return this.#client.call('RegisterMachineWithNetwork', 'sayssusai', ...identity)
  }

  /** Ends it, and takes down what was for it alone. */
  async end(): Promise<void> {
    await this.#host.run(['systemctl', 'stop', 'leader.service'])
    await this.#client.waitTillGone('m1')
    await this.#host.run(['machinedctl', 'network', 'take-down'], { reject: false })
  }
}

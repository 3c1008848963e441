import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { TestHost } from '../host/host.ts'

/*
 * Real traffic between a host, its machines, and what plays the outside: another network namespace that the host has its
 * default route to, and that knows no route back.
 */

/** A shell script that makes the outside, with 192.0.2.2 and 2001:db8::2; the host is .1 there. */
export const OUTSIDE = `
ip netns add outside
ip link add up0 type veth peer name eth0 netns outside
ip link set up0 up
ip address add 192.0.2.1/24 dev up0
ip address add 2001:db8::1/64 dev up0 nodad
ip address add 192.0.2.3/24 dev up0
ip route add default via 192.0.2.2
ip route add default via 2001:db8::2
ip -n outside link set lo up
ip -n outside link set eth0 up
ip -n outside address add 192.0.2.2/24 dev eth0
ip -n outside address add 2001:db8::2/64 dev eth0 nodad
`

/** The command that runs another one in the outside. */
export const ENTER_OUTSIDE = ['ip', 'netns', 'exec', 'outside']

/** Answers each line, and each datagram, with the address that it came from and the port that it came to. */
const SERVER = `
const ports = process.argv.slice(1).map(Number)
let missing = 2 * ports.length
const ready = () => --missing || console.log('ready')
const text = (address, port) => address.replace('::ffff:', '') + ' ' + port
for (const port of ports) {
  require('net').createServer((s) => s.on('error', () => 0).on('data', () => s.write(text(s.remoteAddress, port) + '\\n'))).listen(port, '::', ready)
  const udp = require('dgram').createSocket('udp6', (m, from) => udp.send(text(from.address, port), from.port, from.address))
  udp.bind(port, '::', ready)
}`

const TCP_CLIENT = `
const [address, port] = process.argv.slice(1)
const socket = require('net').connect(Number(port), address)
socket.on('error', () => process.exit(1)).on('end', () => process.exit(1))
socket.on('connect', () => process.stdin.pipe(socket)).pipe(process.stdout)`

const UDP_CLIENT = `
const [address, port] = process.argv.slice(1)
const socket = require('dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4')
socket.on('error', () => process.exit(1)).on('message', (text) => process.stdout.write(text + '\\n'))
process.stdin.on('data', () => socket.send('x', Number(port), address))`

const ANSWER_MS = 3000

/** Starts a server on these ports, of both protocols and families, in the network that `enter` leads to. */
export async function serve(host: TestHost, enter: readonly string[], ...ports: number[]): Promise<void> {
  const server = host.spawn([...enter, 'node', '-e', SERVER, ...ports.map(String)])
  await once(server.stdout, 'data')
}

/** One connection, or one UDP socket, to an address and port. */
export class Conversation {
  readonly #process: ChildProcessWithoutNullStreams
  readonly #lines: AsyncIterator<string>

  constructor(host: TestHost, enter: readonly string[], target: string, protocol: 'tcp' | 'udp' = 'tcp') {
    const [, address = '', port = ''] = /^\[?(.*?)\]?:(\d+)$/.exec(target) ?? []
    const script = protocol === 'tcp' ? TCP_CLIENT : UDP_CLIENT
    this.#process = host.spawn([...enter, 'node', '-e', script, address, port])
    this.#process.stdin.on('error', () => undefined)
    this.#lines = createInterface(this.#process.stdout)[Symbol.asyncIterator]()
  }

  /** What the server says: the address that we came from and its own port; undefined when it says nothing. */
  async say(): Promise<string | undefined> {
    const late = AbortSignal.timeout(ANSWER_MS)
    const silence = once(late, 'abort').then(() => undefined)
    this.#process.stdin.write('x\n')
    const answer = this.#lines.next().then(({ value, done }) => (done === true ? undefined : value))
    return Promise.race([answer, silence])
  }

  end(): void {
    this.#process.kill()
  }
}

/** One question and its answer, as `say` of a Conversation. */
export async function ask(
  host: TestHost,
  enter: readonly string[],
  target: string,
  protocol: 'tcp' | 'udp' = 'tcp'
): Promise<string | undefined> {
  const conversation = new Conversation(host, enter, target, protocol)
  try {
    return await conversation.say()
  } finally {
    conversation.end()
  }
}

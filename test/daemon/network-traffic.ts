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

/** Does what the lines say that it gets, and says what comes of it: \`NUMBER TEXT\`, without a text when it is over. */
const CLIENT = `
const said = {}
const tell = (number, text) => console.log(number + ' ' + text)
const open = (number, protocol, address, port) => {
  if (protocol === 'udp') {
    const socket = require('dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4')
    socket.on('error', () => tell(number, '')).on('message', (text) => tell(number, text))
    return () => socket.send('x', Number(port), address)
  }
  const socket = require('net').connect(Number(port), address)
  socket.on('error', () => 0).on('close', () => tell(number, '')).on('data', (text) => tell(number, String(text).trim()))
  return () => socket.write('x')
}
require('readline').createInterface(process.stdin).on('line', (line) => {
  const [number, ...words] = line.split(' ')
  said[number] ??= open(number, ...words)
  said[number]()
})`

/** Long enough for a machine under load. */
const ANSWER_MS = 20_000
/** How long to wait where no answer is expected. */
export const SILENCE_MS = 2000

/** Starts a server on these ports, of both protocols and families, in the network that `enter` leads to. */
export async function serve(host: TestHost, enter: readonly string[], ...ports: number[]): Promise<void> {
  const server = host.spawn([...enter, 'node', '-e', SERVER, ...ports.map(String)])
  await once(server.stdout, 'data')
}

/** A client in the network that `enter` leads to, which goes on till its host ends. */
export class Peer {
  readonly #process: ChildProcessWithoutNullStreams
  readonly #waiting = new Map<string, (text: string) => void>()
  #count = 0

  constructor(host: TestHost, enter: readonly string[]) {
    this.#process = host.spawn([...enter, 'node', '-e', CLIENT])
    this.#process.stdin.on('error', () => undefined)
    createInterface(this.#process.stdout).on('line', (line) => {
      const [, number = '', text = ''] = /^(\d+) (.*)$/.exec(line) ?? []
      this.#waiting.get(number)?.(text)
      this.#waiting.delete(number)
    })
  }

  /**
   * Begins to talk to a server, over one connection or UDP socket. Each call gives what the server says next: the address
   * that we came from and its own port; undefined when it says nothing.
   */
  talkTo(target: string, protocol: 'tcp' | 'udp' = 'tcp'): (withinMs?: number) => Promise<string | undefined> {
    const [, address = '', port = ''] = /^\[?(.*?)\]?:(\d+)$/.exec(target) ?? []
    const number = String(++this.#count)
    return async (withinMs = ANSWER_MS) => {
      let timer: NodeJS.Timeout | undefined
      const answer = new Promise<string>((resolve) => {
        this.#waiting.set(number, resolve)
        timer = setTimeout(resolve, withinMs, '')
      })
      this.#process.stdin.write(`${number} ${protocol} ${address} ${port}\n`)
      const text = await answer
      clearTimeout(timer)
      return text === '' ? undefined : text
    }
  }

  /** One question and its answer. */
  ask(target: string, protocol: 'tcp' | 'udp' = 'tcp', withinMs = ANSWER_MS): Promise<string | undefined> {
    return this.talkTo(target, protocol)(withinMs)
  }
}

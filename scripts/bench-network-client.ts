import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { readFileSync, readlinkSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Connection } from '../daemon/bus/connection.ts'

// The client of scripts/bench-network.ts: runs inside the test host, and prints its results as JSON.
//
//   bench-network-client attach COUNT ROUNDS    registers machines with a network, one after the other: milliseconds
//   bench-network-client forward COUNT          adds and removes a forward: milliseconds of each change
//   bench-network-client serve PORT             takes what comes, and answers where a byte asks for it; does not end
//   bench-network-client connect ADDRESS PORT   connects again and again: the median of the microseconds
//   bench-network-client talk ADDRESS PORT      one byte there and back: the median of the microseconds
//   bench-network-client stream ADDRESS PORT    sends for some stretches of time: the most megabytes in a second

const daemon = { destination: 'org.freedesktop.machine1', path: '/org/freedesktop/machine1' }
const connections = 1500
const questions = 5000
const stretches = 6
const stretchMs = 200
const restMs = 20

/** Times of one thing that was done over and over, in milliseconds. */
export interface Times {
  p50: number
  p99: number
}

function timesOf(times: number[]): Times {
  const sorted = times.toSorted((a, b) => a - b)
  const at = (part: number): number => sorted[Math.ceil(sorted.length * part) - 1] ?? NaN
  return { p50: at(0.5), p99: at(0.99) }
}

/** Runs something in turn with its end, and gives how long it took. */
async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return performance.now() - start
}

/** A process with a network of its own, and a veth to it, as systemd-nspawn makes them before it registers a machine. */
async function startLeader(name: string): Promise<{ leader: ChildProcess; pid: number; index: number }> {
  const own = readlinkSync('/proc/self/ns/net')
  const leader = spawn('unshare', ['--net', 'sleep', 'infinity'], { stdio: 'ignore' })
  const pid = leader.pid ?? 0
  while (readlinkSync(`/proc/${pid}/ns/net`) === own) await sleep(1)
  execFileSync('ip', ['link', 'add', `ve-${name}`, 'type', 'veth', 'peer', 'name', 'host0', 'netns', String(pid)])
  return { leader, pid, index: Number(readFileSync(`/sys/class/net/ve-${name}/ifindex`, 'utf8')) }
}

async function attach(bus: Connection, count: number, rounds: number): Promise<Times> {
  const names = Array.from({ length: count }, (_, index) => `net-${index}`)
  const leaders = new Map<string, Awaited<ReturnType<typeof startLeader>>>()
  // All of them are there before and after: while the kernel takes a network apart, links wait for it.
  for (const name of names) leaders.set(name, await startLeader(name))
  const request = { ...daemon, interface: 'org.freedesktop.machine1.Manager', member: 'RegisterMachineWithNetwork' }
  const times: number[] = []
  for (const [name, { pid, index }] of Array.from({ length: rounds }, () => [...leaders]).flat()) {
    const body = [name, Buffer.alloc(0), 'bench', 'container', pid, '', [index]]
    times.push(await timed(() => bus.call({ ...request, signature: 'sayssusai', body })))
    await bus.call({ ...request, member: 'UnregisterMachine', signature: 's', body: [name] })
    // Its rules are taken away after the reply.
    await sleep(restMs)
  }
  for (const { leader } of leaders.values()) leader.kill('SIGKILL')
  return timesOf(times)
}

async function forward(bus: Connection, count: number): Promise<Times> {
  const request = { ...daemon, interface: 'io.machined.Network' }
  const times: number[] = []
  for (let round = 0; round < count; round++) {
    const add = { ...request, member: 'AddForward', signature: 'sss', body: ['a', '7', '7'] }
    times.push(await timed(() => bus.call(add)))
    times.push(await timed(() => bus.call({ ...request, member: 'RemoveForward', signature: 'ss', body: ['a', '7'] })))
  }
  return timesOf(times)
}

/** What begins with `?` is answered byte for byte, all else is thrown away. */
function serve(port: number): void {
  createServer((socket) => {
    socket.setNoDelay()
    socket.on('error', () => socket.destroy())
    socket.on('data', (data: Buffer) => {
      if (data[0] === 0x3f) socket.write(data)
    })
  }).listen(port, '::')
}

async function opened(address: string, port: number): Promise<Socket> {
  const socket = connect(port, address)
  await once(socket, 'connect')
  return socket.setNoDelay()
}

async function connectOften(address: string, port: number): Promise<number> {
  const times: number[] = []
  for (let round = 0; round < connections; round++) {
    const start = performance.now()
    const socket = await opened(address, port)
    times.push(performance.now() - start)
    // No port of ours is left waiting.
    socket.resetAndDestroy()
  }
  return timesOf(times).p50 * 1000
}

async function talk(address: string, port: number): Promise<number> {
  const socket = await opened(address, port)
  const times: number[] = []
  for (let round = 0; round < questions; round++) {
    times.push(
      await timed(() => {
        socket.write('?')
        return once(socket, 'data')
      })
    )
  }
  socket.destroy()
  return timesOf(times).p50 * 1000
}

/** The best of some stretches: what else happens on this machine makes many slower, and none faster. */
async function stream(address: string, port: number): Promise<number> {
  const socket = await opened(address, port)
  const piece = Buffer.alloc(256 * 1024)
  const sent = (): number => socket.bytesWritten - socket.writableLength
  let best = 0
  for (let stretch = 0; stretch < stretches; stretch++) {
    const [start, before] = [performance.now(), sent()]
    while (performance.now() - start < stretchMs) if (!socket.write(piece)) await once(socket, 'drain')
    best = Math.max(best, (sent() - before) / (performance.now() - start) / 1000)
  }
  socket.destroy()
  return best
}

async function withBus<T>(work: (bus: Connection) => Promise<T>): Promise<T> {
  const bus = await Connection.open()
  try {
    return await work(bus)
  } finally {
    bus.close()
  }
}

async function run(action: string, [first = '', second = '']: readonly string[]): Promise<unknown> {
  switch (action) {
    case 'attach':
      return withBus((bus) => attach(bus, Number(first), Number(second)))
    case 'forward':
      return withBus((bus) => forward(bus, Number(first)))
    case 'connect':
      return connectOften(first, Number(second))
    case 'talk':
      return talk(first, Number(second))
    case 'stream':
      return stream(first, Number(second))
    default:
      throw new Error(`There is no action ${action}`)
  }
}

const [action = '', ...args] = process.argv.slice(2)
if (action === 'serve') serve(Number(args[0]))
else void run(action, args).then((result) => process.stdout.write(`${JSON.stringify(result)}\n`))

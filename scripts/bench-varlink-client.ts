import { setTimeout as sleep } from 'node:timers/promises'
import { closeFd } from '../daemon/linux/libc.ts'
import { Poll } from '../daemon/linux/poll.ts'
import { connectUnix, MessageReceiver, sendMessage } from '../daemon/linux/unix-socket.ts'

const socketPath = '/run/systemd/machine/io.systemd.Machine'
const interfaceName = 'io.systemd.Machine'
const warmUpMs = 2000
/** For what rests in between: as many calls as V8 needs to have compiled what they take, and as make a median. */
const longWarmUpMs = 8000
const longMeasureMs = 3000
const measureMs = 800
/** The stock daemon says that a machine is gone, and forgets it only when it has nothing else to do. */
const restMs = 200

/** What is asked in turn, how many replies each call brings, and whether all is on connections of their own. */
interface Row {
  readonly rounds: readonly (readonly Buffer[])[]
  readonly replies: number
  readonly connects?: true
}

/**
 * A Varlink connection that knows only how many replies have come, so that what is measured is the service, and not the
 * client.
 */
class VarlinkConnection {
  readonly #fd = connectUnix(socketPath)
  readonly #poll: Poll
  readonly #receiver = new MessageReceiver(256 * 1024)
  #waiting = 0
  #done: () => void = () => undefined
  #fail: (error: Error) => void = () => undefined

  constructor() {
    this.#poll = new Poll(
      this.#fd,
      () => {
        this.#read()
      },
      { ownsFd: true }
    )
    this.#poll.start({ readable: true })
  }

  /** Sends a message and waits for so many replies. Throws for an error among them. */
  call(message: Buffer, replies = 1): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting = replies
      this.#done = resolve
      this.#fail = reject
      if (sendMessage(this.#fd, message) !== message.length) reject(new Error('The daemon does not take a whole call'))
    })
  }

  close(): void {
    this.#poll.close()
  }

  #read(): void {
    const received = this.#receiver.receive(this.#fd)
    if (received === undefined) return
    received.fds.forEach(closeFd)
    const bytes = this.#receiver.buffer.subarray(0, received.bytes)
    if (bytes.length === 0 || bytes.includes('{"error"')) {
      this.#poll.stop()
      this.#fail(new Error(`The daemon says: ${bytes.toString()}`))
      return
    }
    for (let end = bytes.indexOf(0); end >= 0; end = bytes.indexOf(0, end + 1)) this.#waiting--
    if (this.#waiting === 0) this.#done()
  }
}

function messageOf(method: string, parameters: object, more = false): Buffer {
  return Buffer.from(`${JSON.stringify({ method: `${interfaceName}.${method}`, parameters, ...(more && { more }) })}\0`)
}

function registration(name: string, leader: number): Buffer {
  return messageOf('Register', { name, service: 'bench', class: 'container', leader, rootDirectory: '/' })
}

/** Registers the machines bench-0 and on. */
export async function registerByVarlink(leaders: readonly number[]): Promise<void> {
  const connection = new VarlinkConnection()
  for (const [index, leader] of leaders.entries()) await connection.call(registration(`bench-${index}`, leader))
  connection.close()
}

function rowOf(name: string, leaders: readonly number[], machines: number): Row {
  const ofOne = messageOf('List', { name: 'bench-0' })
  switch (name) {
    case 'List':
      return { rounds: [[ofOne]], replies: 1 }
    case 'Connect':
      return { rounds: [[ofOne]], replies: 1, connects: true }
    case 'ListAll':
      // The host is one more.
      return { rounds: [[messageOf('List', { acquireMetadata: 'graceful' }, true)]], replies: machines + 1 }
    case 'Register':
      return { rounds: leaders.map(comeAndGo), replies: 1 }
    default:
      throw new Error(`There is no row ${name}`)
  }
}

function comeAndGo(leader: number): Buffer[] {
  const name = `bench-new-${leader}`
  return [registration(name, leader), messageOf('Unregister', { name })]
}

/**
 * The microseconds of each round of a row, one after the other. `leaders` are processes that are no machines yet,
 * `machines` how many are registered.
 */
export async function measureVarlink(name: string, machines: number, leaders: readonly number[]): Promise<number[]> {
  const { rounds, replies, connects } = rowOf(name, leaders, machines)
  let connection = new VarlinkConnection()
  const repeat = async (durationMs: number): Promise<number[]> => {
    const latencies: number[] = []
    const end = performance.now() + durationMs
    for (let start = performance.now(); start < end; start = performance.now()) {
      if (connects) {
        connection.close()
        connection = new VarlinkConnection()
      }
      for (const call of rounds[latencies.length % rounds.length] ?? []) await connection.call(call, replies)
      latencies.push((performance.now() - start) * 1000)
      if (rounds.length > 1 && latencies.length % rounds.length === 0) await sleep(restMs)
    }
    return latencies
  }
  const rests = rounds.length > 1
  await repeat(rests ? longWarmUpMs : warmUpMs)
  const latencies = await repeat(rests ? longMeasureMs : measureMs)
  connection.close()
  return latencies
}

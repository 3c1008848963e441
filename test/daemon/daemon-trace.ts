import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { isGone, type TestHost } from '../host/host.ts'
import { Client } from './client.ts'

const UNIT = 'systemd-machined.service'
/**
 * By then strace(1) is ended: at times it sleeps in wait4(2) while a thread that was killed waits to be seen by it, and as long
 * the daemon is not over for systemd.
 */
const STUCK_MS = 60_000

/** The daemon's PID as this machine numbers it. */
async function daemonPid(host: TestHost): Promise<string> {
  const inner = await new Client(host).output('systemctl', 'show', '-P', 'MainPID', UNIT)
  const namespace = readlinkSync(`/proc/${host.pid}/ns/pid`)
  const isIt = (pid: string): boolean => {
    try {
      const numbers = /^NSpid:\s*(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]?.split(/\s+/) ?? []
      return numbers.at(-1) === inner && readlinkSync(`/proc/${pid}/ns/pid`) === namespace
    } catch {
      return false
    }
  }
  const found = readdirSync('/proc').find((name) => /^\d+$/.test(name) && isIt(name))
  if (found === undefined) throw new Error(`There is no process ${inner}`)
  return found
}

/** What strace(1), told so, says of the daemon while something is done; with `-f` also of all its threads and children. */
export async function traced(
  host: TestHost,
  options: readonly string[],
  work: () => Promise<unknown>
): Promise<string> {
  const argv = ['-p', await daemonPid(host), ...options]
  const tracer = spawn('strace', argv, { stdio: ['ignore', 'ignore', 'pipe'] })
  const exit = once(tracer, 'exit')
  let said = ''
  tracer.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
  await host.waitFor(() => said.includes('attached'), `strace to follow the daemon: ${said}`)
  const stuck = setTimeout(() => tracer.kill('SIGKILL'), STUCK_MS)
  await work()
  tracer.kill('SIGINT')
  await exit
  clearTimeout(stuck)
  return said
}

/**
 * Does something while the daemon is killed as it begins its so-manyth system call of a kind; whether it came to that. The
 * calls are those of its main thread, with `-f` those of any thread or child.
 */
export async function killedAt(
  host: TestHost,
  [kind, count, ...options]: readonly [kind: string, count: number, ...options: string[]],
  work: () => Promise<unknown>
): Promise<boolean> {
  const pid = await daemonPid(host)
  const inject = ['-e', `trace=${kind}`, '-e', `inject=${kind}:signal=KILL:when=${count}`]
  const said = await traced(host, [...options, ...inject], work)
  const killed = said.includes('killed by SIGKILL') || isGone(pid)
  const client = new Client(host)
  if (killed) await host.waitFor(async () => (await client.call('ListMachines')).exitCode === 0, 'the next daemon')
  return killed
}

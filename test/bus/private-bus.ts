import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type t from 'tap'

type Tap = Pick<typeof t, 'teardown'>

/** A folder for sockets, gone with the test; t.testdir() is too deep for a socket's path. */
export function socketFolder(t: Tap): string {
  const path = mkdtempSync('/tmp/machined-test-')
  t.teardown(() => {
    rmSync(path, { recursive: true })
  })
  return path
}

/** A message bus of the stock dbus-daemon for this test alone, gone with it. */
export async function startBus(
  t: Tap,
  address = `unix:path=${join(socketFolder(t), 'bus')}`
): Promise<{ address: string; daemon: ChildProcess }> {
  // What it says on stderr is only that it may not raise its limit of descriptors.
  const daemon = spawn('dbus-daemon', ['--session', '--nofork', '--print-address', `--address=${address}`], {
    stdio: ['ignore', 'pipe', 'ignore']
  })
  t.teardown(() => daemon.kill('SIGKILL'))
  const [said] = (await Promise.race([once(daemon.stdout, 'data'), once(daemon, 'exit')])) as [unknown]
  if (!Buffer.isBuffer(said)) throw new Error('The message bus did not start')
  return { address, daemon }
}

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestHost } from '../host/host.ts'
import { projectDirectory } from '../host/root.ts'

export const MACHINE_SOCKET = '/run/systemd/machine/io.systemd.Machine'
export const USER_SOCKET = '/run/systemd/userdb/io.systemd.Machine'
export const HOOK_SOCKET = '/run/systemd/resolve.hook/io.systemd.Machine'

/** One connection: the messages to send as they are, and how many replies to wait for (1 unless told). */
export interface Conversation {
  readonly path?: string
  readonly messages: readonly string[]
  readonly replies?: number
  /** Whether to say first that no more will be sent. */
  readonly half_close?: boolean
  /** Whether to send a descriptor along. */
  readonly send_fd?: boolean
}

/** A call of a method as the text of its message. */
export function call(method: string, parameters?: unknown, flags: object = {}): string {
  return JSON.stringify({ method, ...(parameters !== undefined && { parameters }), ...flags })
}

/** Has the conversations one after the other, inside the host; gives what came back, with `"closed"` for the end. */
export async function converse(
  host: TestHost,
  conversations: readonly Conversation[],
  user?: string
): Promise<unknown[][]> {
  const script = readFileSync(join(projectDirectory(), 'test/daemon/varlink-client.py'), 'utf8')
  const input = JSON.stringify(conversations.map((one) => ({ path: MACHINE_SOCKET, replies: 1, ...one })))
  const { stdout } = await host.run(['python3', '-c', script], { input, ...(user !== undefined && { user }) })
  return JSON.parse(stdout) as unknown[][]
}

/** Calls one method; gives its one reply. */
export async function callOne(
  host: TestHost,
  method: string,
  parameters: unknown = {},
  options: { user?: string; path?: string; flags?: object } = {}
): Promise<{ error?: string; parameters?: Record<string, unknown> }> {
  const { user, path = MACHINE_SOCKET, flags = {} } = options
  const [replies] = await converse(host, [{ path, messages: [call(method, parameters, flags)] }], user)
  return replies?.[0] as { error?: string; parameters?: Record<string, unknown> }
}

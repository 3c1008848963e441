import type { Connection } from '../bus/connection.ts'

const LOGIN = 'org.freedesktop.login1'

/** Calls `resumed` whenever the host has slept, as systemd-logind tells (org.freedesktop.login1(5)). Throws what the broker answers. */
export async function followResume(connection: Connection, resumed: () => void): Promise<void> {
  const manager = { path: '/org/freedesktop/login1', interface: `${LOGIN}.Manager` }
  // Before it sleeps there is one as well, which says true.
  await connection.onSignal({ sender: LOGIN, ...manager, member: 'PrepareForSleep' }, ({ body }) => {
    if (body[0] === false) resumed()
  })
}

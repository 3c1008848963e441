import type { Connection } from './connection.ts'

const DRIVER = { path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus' }

/** Whether somebody has a name on the bus, told at once and whenever that changes. Throws what the broker answers. */
export async function followName(
  connection: Connection,
  name: string,
  tell: (isOwned: boolean) => void
): Promise<void> {
  const match = { ...DRIVER, sender: 'org.freedesktop.DBus', member: 'NameOwnerChanged', arg0: name }
  const following = connection.onSignal(match, ({ body }) => {
    tell(body[2] !== '')
  })
  const request = {
    destination: 'org.freedesktop.DBus',
    ...DRIVER,
    member: 'NameHasOwner',
    signature: 's',
    body: [name]
  }
  const [reply] = await Promise.all([connection.call(request), following])
  tell(reply.body[0] === true)
}

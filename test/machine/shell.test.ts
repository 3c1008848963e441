import { readdirSync, readlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Variant } from '../../daemon/bus/client-bus.ts'
import { Connection } from '../../daemon/bus/connection.ts'
import { ServiceManager } from '../../daemon/bus/systemd.ts'
import { closeFd } from '../../daemon/linux/libc.ts'
import { NamespaceWorkers } from '../../daemon/linux/namespace-workers.ts'
import { PidRef } from '../../daemon/linux/process.ts'
import { Machine, NO_VSOCK_CID } from '../../daemon/machine/machine.ts'
import { openShell } from '../../daemon/machine/shell.ts'
import { startBus } from '../bus/private-bus.ts'

// No systemd that still runs anywhere lacks what we set, so the old one is played here, on a real bus.

const shell = { user: 'bob', path: '/bin/ls', args: ['ls'], environment: [] }
const skip = process.getuid?.() !== 0

type Properties = [name: string, value: Variant][]

/** A service manager that knows no property of these names; all that it was asked for is kept. */
async function startOldManager(
  t: Pick<Test, 'teardown'>,
  unknown: readonly string[]
): Promise<{ systemd: ServiceManager; asked: string[][] }> {
  const { address } = await startBus(t)
  const [service, client] = [await Connection.open(address), await Connection.open(address)]
  t.teardown(() => {
    for (const connection of [service, client]) connection.close()
  })
  const bus = { destination: 'org.freedesktop.DBus', path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus' }
  await service.call({ ...bus, member: 'RequestName', signature: 'su', body: ['org.freedesktop.systemd1', 0] })
  const asked: string[][] = []
  service.onMethodCall = ({ serial, sender, member, body }) => {
    const reply = { replySerial: serial, destination: sender } as const
    if (member !== 'StartTransientUnit') {
      service.send({ ...reply, type: 2 })
      return
    }
    const names = (body[2] as Properties).map(([name]) => name)
    asked.push(names)
    const missing = names.find((name) => unknown.includes(name))
    if (missing === undefined) service.send({ ...reply, type: 2, signature: 'o', body: ['/job/1'] })
    else {
      const text = `Cannot set property ${missing}, or unknown property.`
      const errorName = 'org.freedesktop.DBus.Error.PropertyReadOnly'
      service.send({ ...reply, type: 3, errorName, signature: 's', body: [text] })
    }
  }
  return { systemd: new ServiceManager(client), asked }
}

/** What is open but for that of threads, sorted: each terminal, each socket and each process. */
function openFiles(): string[] {
  const links = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return ''
    }
  })
  return links.filter((link) => /^\/dev\/|^socket:|pidfd/.test(link)).sort()
}

/** Waits till no more and no less than `expected` is open: a closed socket goes with the next turn of the loop, a bus when it has ended. */
async function settle(expected: readonly string[]): Promise<void> {
  for (let turn = 0; turn < 300 && openFiles().join() !== expected.join(); turn++) await sleep(20)
}

const workers = new NamespaceWorkers()
const self = PidRef.pin(process.pid)
const atStart = openFiles()
t.teardown(() => {
  self.close()
  workers.close()
})
const machine = new Machine({
  name: '.host',
  class: 'host',
  owner: 0,
  id: Buffer.alloc(0),
  service: '',
  rootDirectory: '/',
  networkInterfaces: [],
  vsockCid: NO_VSOCK_CID,
  sshAddress: '',
  sshPrivateKeyPath: '',
  leader: self,
  supervisor: undefined
})

t.test('an older service manager gets a shell without what it does not know', { skip }, async (t) => {
  const { systemd, asked } = await startOldManager(t, ['UtmpMode', 'IgnoreSIGPIPE'])
  const { fd, path } = await openShell(machine, shell, { systemd, workers })
  t.match(path, /^\/dev\/pts\/\d+$/)
  closeFd(fd)
  const [first, , last] = asked
  t.equal(asked.length, 3)
  t.strictSame(
    last,
    first?.filter((name) => name !== 'UtmpMode' && name !== 'IgnoreSIGPIPE')
  )
})

t.test('without what makes it a shell there is none, and nothing stays open', { skip }, async (t) => {
  await settle(atStart)
  const { systemd, asked } = await startOldManager(t, ['User'])
  const before = openFiles()
  await t.rejects(openShell(machine, shell, { systemd, workers }), /Cannot set property User/)
  t.equal(asked.length, 1)
  // What the message carried is closed once it was read, by the other end of the bus too.
  await settle(before)
  t.strictSame(openFiles(), before)
})

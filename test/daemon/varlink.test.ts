import t from 'tap'
import { TestHost } from '../host/host.ts'
import { type Conversation, converse, HOOK_SOCKET, MACHINE_SOCKET, USER_SOCKET } from './varlink-client.ts'
import { imageVectors, MAKE_IMAGES } from './varlink-image-vectors.ts'
import { bareVectors, registeredVectors } from './varlink-vectors.ts'

/** What ours answers otherwise, as the specification wants it (A6, A18, D2). */
const OTHERWISE: Record<string, unknown> = {
  // Ours has interfaces of its own besides.
  info: 'one record',
  // Null is the same as nothing.
  'list of null': 'one record',
  'update by null': [{}],
  // What the interface offers is taken.
  'map from the host and ask for a password': [{ error: 'io.systemd.Machine.NotSupported' }],
  // That is another process by now.
  'list by the PID of another inode': [{ error: 'io.systemd.Machine.NoSuchMachine' }],
  // What is below a machine's name is for others to resolve, and DNS tells no upper from lower case.
  'resolve what is below': [{}],
  'resolve in capitals': [{ parameters: { rcode: 0, answer: [] } }]
}

const host = await TestHost.start({ root: 'testing' })
t.teardown(() => host.stop())

/** A shell that covers where os-release is looked for, and so the libraries of all but itself. */
const BARE =
  'mkfifo -m 600 /run/never 2>/dev/null || true; mount -t tmpfs none /etc; mount -t tmpfs none /usr/lib; read x </run/never'

type Replies = Record<string, unknown[] | undefined>

/** Replies without what differs by nature: when it was, who it was, which program says so, and the order of a hash table. */
function comparable(text: string): unknown {
  return JSON.parse(
    text
      .replace(/"(realtime|monotonic|creationTimestamp|modificationTimestamp|pid|pidfdId)":\d+/g, '"$1":"some"')
      .replace('"filterDomains":["x","full"]', '"filterDomains":["full","x"]')
      .replace(/"version":"262 \([^)]*\)"/g, '"version":"262"')
  )
}

async function replies(conversations: Record<string, Conversation>): Promise<Replies> {
  const all = comparable(JSON.stringify(await converse(host, Object.values(conversations)))) as unknown[][]
  return Object.fromEntries(Object.keys(conversations).map((name, index) => [name, inOrder(all[index] ?? [])]))
}

/** Several records come in the order of a hash table: here by name, each with whether the one sent in its place goes on. */
function inOrder(got: unknown[]): unknown[] {
  const records = got as { parameters?: { name?: string }; continues?: boolean }[]
  if (records.length < 2 || records.some(({ parameters }) => parameters?.name === undefined)) return got
  const nameOf = (record: (typeof records)[number]): string => record.parameters?.name ?? ''
  const sorted = records.toSorted((one, other) => (nameOf(one) < nameOf(other) ? -1 : 1))
  return sorted.map(({ parameters }, index) => ({ parameters, continues: records[index]?.continues }))
}

const INTERFACES: readonly (readonly [path: string, name: string])[] = [
  [MACHINE_SOCKET, 'io.systemd.Machine'],
  [MACHINE_SOCKET, 'io.systemd.MachineImage'],
  [MACHINE_SOCKET, 'io.systemd.service'],
  [MACHINE_SOCKET, 'org.varlink.service'],
  [MACHINE_SOCKET, 'io.systemd'],
  [USER_SOCKET, 'io.systemd.UserDatabase'],
  [HOOK_SOCKET, 'io.systemd.Resolve.Hook']
]

/** What an interface declares, as varlinkctl prints it: everything but comments and order. */
async function declarations(path: string, name: string): Promise<string[]> {
  const { stdout } = await host.run(['varlinkctl', '--no-pager', 'introspect', path, name])
  const bare = stdout.replace(/^[ \t]*#.*\n/gm, '')
  return bare
    .split(/\n\n+/)
    .map((text) => text.trim())
    .sort()
}

async function declareAll(): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {}
  for (const [path, name] of INTERFACES) found[name] = await declarations(path, name)
  return found
}

/** Has all conversations with the daemon that is there now. */
async function converseAll(): Promise<{ bare: Replies; registered: Replies; images: Replies }> {
  const pid = async (unit: string): Promise<string> => {
    await host.run(['systemd-run', '-q', '--collect', `--unit=${unit}`, 'sleep', 'infinity'])
    return (await host.run(['systemctl', 'show', '-P', 'MainPID', `${unit}.service`])).stdout
  }
  await host.run(['systemd-run', '-q', '--collect', '--unit=vector-bare', 'unshare', '-mn', 'sh', '-ec', BARE])
  const bare = (await host.run(['systemctl', 'show', '-P', 'MainPID', 'vector-bare.service'])).stdout
  const isBare = async (): Promise<boolean> =>
    !(await host.run(['ls', `/proc/${bare}/root/usr/lib`])).stdout.includes('\n')
  await host.waitFor(isBare, 'the process to have covered its files')
  const withMachines = JSON.stringify(registeredVectors)
    .replaceAll('\\"BARE\\"', bare)
    .replaceAll('\\"PID\\"', await pid('vector-x'))
    .replaceAll('\\"FULL\\"', await pid('vector-full'))
  await host.run(['sh', '-euc', MAKE_IMAGES])
  const result = {
    images: await replies(imageVectors),
    bare: await replies(bareVectors),
    registered: await replies(JSON.parse(withMachines) as Record<string, Conversation>)
  }
  await host.run(['systemctl', 'stop', 'vector-full', 'vector-bare'])
  const isOver = async (): Promise<boolean> =>
    (await host.run(['systemctl', 'is-active', 'vector-x'], { reject: false })).exitCode !== 0
  await host.waitFor(isOver, 'the terminated machine to be over')
  return result
}

await host.useStock()
const stock = await converseAll()
const declaredByStock = await declareAll()
await host.useOurs()
const own = await converseAll()

t.test('interfaces declare what those of the stock daemon do', async (t) => {
  const declared = await declareAll()
  for (const [, name] of INTERFACES) t.strictSame(declared[name], declaredByStock[name], name)
})

for (const part of ['bare', 'registered', 'images'] as const) {
  t.test(`answers are those of the stock daemon: ${part}`, (t) => {
    for (const [name, reply] of Object.entries(own[part])) {
      if (name in OTHERWISE) {
        t.notSame(reply, stock[part][name], `${name} is meant to differ`)
        if (OTHERWISE[name] !== 'one record') t.strictSame(reply, OTHERWISE[name], name)
      } else t.strictSame(reply, stock[part][name], name)
    }
    t.end()
  })
}

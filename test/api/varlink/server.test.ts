import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { method, Subscription, field, string, type InterfaceTable } from '../../../daemon/api/varlink/schema.ts'
import { VarlinkServer } from '../../../daemon/api/varlink/server.ts'
import { listenUnix } from '../../../daemon/linux/unix-listener.ts'

const PIECE = 'x'.repeat(16 * 1024)
/** Twice of what may stay unread, and of what the kernel holds in addition. */
const MOST_PIECES = 256
/** More than anything here takes. */
const MOST_TURNS = 100_000

/** Those who follow the news, each by what tells it something. */
type Followers = Set<(text: string) => void>

const news: InterfaceTable<Followers> = {
  name: 'org.example.News',
  doc: 'What has happened.',
  types: [],
  methods: {
    Follow: method({
      doc: 'Tells it.',
      more: 'required',
      in: {},
      out: { text: field(string, 'What it is.') },
      access: 'anyone',
      run: (followers: Followers) =>
        new Subscription((emit) => {
          const tell = (text: string): void => {
            emit({ text })
          }
          followers.add(tell)
          return () => followers.delete(tell)
        })
    })
  },
  errors: {}
}

/** Counts how often it was asked. */
const answers: InterfaceTable<{ given: number }> = {
  name: 'org.example.Answers',
  doc: 'What is known.',
  types: [],
  methods: {
    Ask: method({
      doc: 'Tells much.',
      in: {},
      out: { text: field(string, 'What it is.') },
      access: 'anyone',
      run: (count: { given: number }) => {
        count.given++
        return { text: PIECE }
      }
    })
  },
  errors: {}
}

/** Gives one reply at once, and the last when told. */
const works: InterfaceTable<Promise<void>> = {
  name: 'org.example.Works',
  doc: 'What takes long.',
  types: [],
  methods: {
    Do: method({
      doc: 'Tells of each part.',
      more: 'required',
      in: {},
      out: { text: field(string, 'What is done.') },
      access: 'anyone',
      run: async (end: Promise<void>, _, call) => {
        call.replyAndGoOn({ text: 'one' })
        await end
        return { text: 'two' }
      }
    })
  },
  errors: {}
}

/** Starts a server of news. Nobody needs to be authorized for them. */
function serve(t: Test): { followers: Followers; path: string; server: VarlinkServer } {
  const server = new VarlinkServer({ check: () => Promise.reject(new Error('Nobody asks')) })
  const followers: Followers = new Set()
  server.serve(news, followers)
  // Addresses of sockets are short.
  const directory = mkdtempSync(join(tmpdir(), 'varlink-'))
  const path = join(directory, 'socket')
  server.listen(listenUnix(path, 0o600))
  t.teardown(() => {
    server.close()
    rmSync(directory, { recursive: true })
  })
  return { followers, path, server }
}

/** Begins to follow; nothing is read from the socket until somebody listens to its data. */
async function follow(path: string): Promise<Socket> {
  const socket = connect(path)
  await once(socket, 'connect')
  socket.write('{"method":"org.example.News.Follow","more":true}\0')
  return socket
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await turn()
}

t.test('who does not read what it follows is cut off, and nobody else', async (t) => {
  const { followers, path, server } = serve(t)
  const slow = await follow(path)
  await until(() => followers.size === 1)
  const quick = await follow(path)
  await until(() => followers.size === 2)
  let read = 0
  quick.on('data', (bytes: Buffer) => (read += bytes.filter((byte) => byte === 0).length))
  let told = 0
  for (; followers.size === 2 && told < MOST_PIECES; told++) {
    for (const tell of [...followers]) tell(PIECE)
    await until(() => read === told + 1)
  }
  t.equal(followers.size, 1, 'one is told no more')
  t.equal(server.connections, 1)
  for (const tell of followers) tell('the last')
  await until(() => read === told + 1)
  t.pass('the other has it all')
  slow.destroy()
  quick.destroy()
  await until(() => followers.size === 0)
  t.equal(server.connections, 0, 'who hangs up follows no more')
})

t.test('one that goes without having read its replies is let go', async (t) => {
  const { path, server } = serve(t)
  const count = { given: 0 }
  server.serve(answers, count)
  const socket = connect(path)
  await once(socket, 'connect')
  socket.write('{"method":"org.example.Answers.Ask"}\0'.repeat(MOST_PIECES))
  await until(() => count.given > 0)
  t.ok(count.given < MOST_PIECES, 'not all are answered, as none is read')
  socket.destroy()
  for (let turns = 0; server.connections > 0 && turns < MOST_TURNS; turns++) await turn()
  t.equal(server.connections, 0)
})

t.test('replies that are there are not kept till the last', async (t) => {
  const { path, server } = serve(t)
  let end: () => void = () => undefined
  server.serve(
    works,
    new Promise<void>((resolve) => {
      end = resolve
    })
  )
  const socket = connect(path)
  let seen = ''
  socket.setEncoding('utf8').on('data', (text: string) => (seen += text))
  socket.write('{"method":"org.example.Works.Do","more":true}\0')
  await until(() => seen === '{"parameters":{"text":"one"},"continues":true}\0')
  end()
  await until(() => seen.endsWith('{"parameters":{"text":"two"}}\0'))
  socket.destroy()
  t.end()
})

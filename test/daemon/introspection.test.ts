import t from 'tap'
import { TestHost } from '../host/host.ts'

const NAME = 'org.freedesktop.machine1'
const PATH = '/org/freedesktop/machine1'
const PATHS = [
  '/',
  '/org',
  '/org/freedesktop',
  '/org/freedesktop/LogControl1',
  PATH,
  `${PATH}/machine`,
  `${PATH}/machine/_2ehost`,
  `${PATH}/image`,
  `${PATH}/image/_2ehost`
]

/** Interfaces that only we have. */
const OWN_PREFIX = 'io.machined.'

/** An introspection document taken apart: each member's whole XML under its name, and all in the order of the document. */
interface Description {
  header: string
  interfaces: Record<string, [name: string, xml: string][]>
  nodes: string[]
}

/** Reads the XML of sd-bus, which has one element on each line and indents by one space. */
function describe(xml: string): Description {
  const interfaces: Description['interfaces'] = {}
  for (const [, name = '', body = ''] of xml.matchAll(/^ <interface name="(.*)">\n([^]*?)^ <\/interface>\n/gm)) {
    const members = body.matchAll(/^ {2}<(\w+) name="(\w+)".*(?:\/>|>\n(?: {3}.*\n)* {2}<\/\1>)\n/gm)
    interfaces[name] = [...members].map(([whole, , member = '']) => [member, whole])
    const isWhole = interfaces[name].map(([, whole]) => whole).join('') === body
    if (!isWhole) throw new Error(`Something in ${name} is no member: ${body}`)
  }
  const nodes = [...xml.matchAll(/^ <node name="(.*)"\/>\n/gm)].map(([, name = '']) => name)
  return { header: xml.slice(0, xml.indexOf('<node>')), interfaces, nodes }
}

const host = await TestHost.start({ root: 'testing' })
t.teardown(() => host.stop())

async function introspect(path: string): Promise<Description> {
  const introspectable = 'org.freedesktop.DBus.Introspectable'
  const { stdout } = await host.run(['busctl', 'call', '--json=short', NAME, path, introspectable, 'Introspect'])
  const [xml] = (JSON.parse(stdout) as { data: [string] }).data
  return describe(xml)
}

async function introspectAll(): Promise<Map<string, Description>> {
  const descriptions = new Map<string, Description>()
  for (const path of PATHS) descriptions.set(path, await introspect(path))
  return descriptions
}

/** What a daemon prints for `--bus-introspect=WHAT`, or its complaint. */
async function busIntrospect(daemon: readonly string[], what: string): Promise<{ text: string; exitCode: number }> {
  const { stdout, stderr, exitCode } = await host.run([...daemon, `--bus-introspect=${what}`], { reject: false })
  return { text: stdout + stderr, exitCode }
}

await host.useStock()
const stock = await introspectAll()
await host.useOurs()
const ours = await introspectAll()

for (const path of PATHS) {
  t.test(`${path} is described as by the stock daemon`, (t) => {
    const [theirs, own] = [stock.get(path), ours.get(path)]
    if (!theirs || !own) throw new Error(`Nothing was recorded of ${path}`)
    t.equal(own.header, theirs.header)
    const shared = Object.keys(own.interfaces).filter((name) => !name.startsWith(OWN_PREFIX))
    t.same(shared, Object.keys(theirs.interfaces), 'the same interfaces in the same order')
    for (const [name, members] of Object.entries(theirs.interfaces)) {
      t.same(own.interfaces[name], members, name)
    }
    t.same(own.nodes, theirs.nodes, 'the same children in the same order')
    t.end()
  })
}

t.test('--bus-introspect prints what the stock daemon prints', async (t) => {
  const exec = (await host.run(['systemctl', 'show', '-P', 'ExecStart', 'systemd-machined.service'])).stdout
  const ownPath = (/argv\[\]=(.*?) ;/.exec(exec)?.[1] ?? '').split(' ')
  const stockPath = ['/usr/lib/systemd/systemd-machined']
  t.notSame(ownPath, stockPath)
  for (const what of ['nope', '/', '/org/freedesktop/machine1/machine/_2ehost', '']) {
    t.same(await busIntrospect(ownPath, what), await busIntrospect(stockPath, what), what)
  }
  for (const what of ['/org/freedesktop/LogControl1', 'org.freedesktop.LogControl1']) {
    t.same(await busIntrospect(ownPath, what), await busIntrospect(stockPath, what), what)
  }
  const list = (await busIntrospect(stockPath, 'list')).text.split('\n')
  const ownList = (await busIntrospect(ownPath, 'list')).text.split('\n')
  t.strictSame(
    ownList.filter((line) => !line.includes(`\t${OWN_PREFIX}`)),
    list
  )
  for (const line of list.filter((text) => text !== '')) {
    const [path = '', name = ''] = line.split('\t')
    const { text } = await busIntrospect(ownPath, path)
    t.equal((await busIntrospect(ownPath, name)).text, text)
    const own = describe(`${text}\n`).interfaces
    const theirs = describe(`${(await busIntrospect(stockPath, path)).text}\n`).interfaces
    t.same(own[name], theirs[name], name)
    t.same(Object.keys(own), Object.keys(theirs))
  }
})

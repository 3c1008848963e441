import { readFileSync } from 'node:fs'
import { Failure } from './failure.ts'
import type { Call } from './verb.ts'

const INTERFACE = 'io.machined.Network'

/** `network [status]`: what the network of machines is. */
async function status({ daemon, output }: Call): Promise<void> {
  const found = await describe(daemon)
  const text = (key: string): string => (typeof found[key] === 'string' ? found[key] : '-')
  output.fields(
    {
      bridge: text('bridge'),
      managed: found['managed'] === true,
      subnet4: text('subnet4'),
      subnet6: text('subnet6'),
      machines: (found['machines'] as string[]).join(' ')
    },
    { bridge: 'Bridge', managed: 'Managed', subnet4: 'IPv4 subnet', subnet6: 'IPv6 subnet', machines: 'Machines' }
  )
}

async function describe(daemon: Call['daemon']): Promise<Record<string, unknown>> {
  const [json] = await daemon.call('describe the network', { interface: INTERFACE, member: 'Describe' })
  return JSON.parse(json as string) as Record<string, unknown>
}

/** `network leases`: which name has which addresses. */
async function leases({ daemon, output }: Call): Promise<void> {
  const [found] = await daemon.call('list leases', { interface: INTERFACE, member: 'ListLeases' })
  type Row = [name: string, ip4: string, ip6: string, mac: string, first: bigint, last: bigint, fixed: boolean]
  const rows = (found as Row[]).map(([name, ip4, ip6, mac, , , fixed]) => ({ name, ip4, ip6, mac, fixed }))
  output.table(rows, { name: 'NAME', ip4: 'IPV4', ip6: 'IPV6', mac: 'MAC', fixed: 'FIXED' }, 'leases')
}

/** `network forward [add NAME LISTEN [TARGET] | remove NAME LISTEN]` */
async function forward({ args: [, action, name = '', listen, target = ''], daemon, output }: Call): Promise<void> {
  if (action === undefined) {
    const [found] = await daemon.call('list forwards', { interface: INTERFACE, member: 'ListForwards' })
    const rows = (found as [string, string, number][]).map(([name, listen, target]) => ({ name, listen, target }))
    output.table(rows, { name: 'NAME', listen: 'LISTEN', target: 'TARGET' }, 'forwards')
  } else if (action === 'add' && listen !== undefined) {
    const request = { interface: INTERFACE, member: 'AddForward', signature: 'sss' }
    await daemon.call('forward the port', request, [name, listen, target])
  } else if (action === 'remove' && listen !== undefined) {
    const request = { interface: INTERFACE, member: 'RemoveForward', signature: 'ss' }
    await daemon.call('remove the forward', request, [name, listen])
  } else throw new Failure('Say `forward add NAME LISTEN [TARGET]` or `forward remove NAME LISTEN`.')
}

/** `network cat-config`: the files that the daemon has read, as they count. */
async function showConfig({ daemon }: Call): Promise<void> {
  const { files } = await describe(daemon)
  const texts = (files as string[]).map((path) => `# ${path}\n${readFileSync(path, 'utf8')}`)
  process.stdout.write(texts.join('\n'))
}

const actions: Readonly<Record<string, (call: Call) => Promise<void>>> = {
  status,
  leases,
  forward,
  'cat-config': showConfig
}

/** `network [status|leases|forward …|cat-config]` */
export async function network(call: Call): Promise<void> {
  const [word = 'status'] = call.args
  const action = Object.hasOwn(actions, word) ? actions[word] : undefined
  if (action === undefined) throw new Failure(`Unknown word '${word}' after 'network'.`)
  await action(call)
}

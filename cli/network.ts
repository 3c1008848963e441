import { readFileSync } from 'node:fs'
import { Failure } from './failure.ts'
import type { Call } from './verb.ts'

const INTERFACE = 'io.machined.Network'

/** One word after `network`: its arguments and what it does, as the help shows them. */
interface Action {
  readonly usage: string
  readonly help: string
  readonly least: number
  readonly most: number
  readonly run: (call: Call) => Promise<void>
}

/** What Describe gives of a network, as far as it is shown. */
interface NetworkView {
  readonly name: string
  readonly bridge: string
  readonly subnet4?: string
  readonly subnet6?: string
  readonly conflict?: string
  readonly machines: readonly string[]
  readonly files: readonly string[]
}

/** What it gives of all. */
interface Description {
  readonly backend: string
  readonly managed: boolean
  readonly networkd: boolean
  readonly networks: readonly NetworkView[]
}

async function describe(daemon: Call['daemon']): Promise<Description> {
  const [json] = await daemon.call('describe the network', { interface: INTERFACE, member: 'Describe' })
  return JSON.parse(json as string) as Description
}

async function list({ daemon, output }: Call): Promise<void> {
  const { networks, managed } = await describe(daemon)
  const rows = networks.map(({ name, bridge, subnet4, subnet6, machines }) => {
    return { name, bridge, subnet4, subnet6, managed, machines: machines.length }
  })
  const addresses = { bridge: 'BRIDGE', subnet4: 'IPV4', subnet6: 'IPV6' }
  output.table(rows, { name: 'NETWORK', ...addresses, managed: 'MANAGED', machines: 'MACHINES' }, 'networks')
}

/** One network, or the default one. */
async function status({ args: [wanted = 'default'], daemon, output }: Call): Promise<void> {
  const { networks, backend, managed, networkd } = await describe(daemon)
  const network = networks.find(({ name }) => name === wanted)
  if (network === undefined) throw new Failure(`Network '${wanted}' is not configured.`)
  const { name, bridge, subnet4, subnet6, conflict, machines } = network
  output.fields(
    { name, bridge, backend, managed, networkd, subnet4, subnet6, conflict, machines },
    {
      name: 'Network',
      bridge: 'Bridge',
      backend: 'Backend',
      managed: 'Managed',
      networkd: 'systemd-networkd runs',
      subnet4: 'IPv4 subnet',
      subnet6: 'IPv6 subnet',
      conflict: 'In conflict with',
      machines: 'Machines'
    }
  )
}

async function leases({ daemon, output }: Call): Promise<void> {
  const [found] = await daemon.call('list leases', { interface: INTERFACE, member: 'ListLeases' })
  type Row = [
    name: string,
    ip4: string,
    ip6: string,
    mac: string,
    first: bigint,
    last: bigint,
    fixed: boolean,
    of: string
  ]
  const rows = (found as Row[]).map(([name, ip4, ip6, mac, , , fixed, network]) => ({
    name,
    network,
    ip4,
    ip6,
    mac,
    fixed
  }))
  const titles = { name: 'NAME', network: 'NETWORK', ip4: 'IPV4', ip6: 'IPV6', mac: 'MAC', fixed: 'FIXED' }
  output.table(rows, titles, 'leases')
}

async function setLease({ args: [name = '', ...addresses], daemon }: Call): Promise<void> {
  const ip6 = addresses.filter((address) => address.includes(':'))
  const ip4 = addresses.filter((address) => !address.includes(':'))
  if (ip4.length > 1 || ip6.length > 1) throw new Failure('A machine has one address of each family.')
  const request = { interface: INTERFACE, member: 'SetLease', signature: 'sss' }
  await daemon.call('set the lease', request, [name, ip4[0] ?? '', ip6[0] ?? ''])
}

async function listForwards({ daemon, output }: Call): Promise<void> {
  const [found] = await daemon.call('list forwards', { interface: INTERFACE, member: 'ListForwards' })
  const rows = (found as [string, string, number][]).map(([name, listen, target]) => ({ name, listen, target }))
  output.table(rows, { name: 'NAME', listen: 'LISTEN', target: 'TARGET' }, 'forwards')
}

async function addForward({ args: [name, listen, target = ''], daemon }: Call): Promise<void> {
  const request = { interface: INTERFACE, member: 'AddForward', signature: 'sss' }
  await daemon.call('forward the port', request, [name, listen, target])
}

async function removeForward({ args, daemon }: Call): Promise<void> {
  const request = { interface: INTERFACE, member: 'RemoveForward', signature: 'ss' }
  await daemon.call('remove the forward', request, [...args])
}

async function takeDown({ daemon }: Call): Promise<void> {
  await daemon.call('take down the network', { interface: INTERFACE, member: 'TakeDown' })
}

/** The files that the daemon has read, as they count. */
async function showConfig({ daemon, output }: Call): Promise<void> {
  const { networks } = await describe(daemon)
  const files = networks.flatMap((network) => network.files)
  output.text(files.map((path) => `# ${path}\n${contents(path)}`).join('\n'))
}

function contents(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new Failure(`Failed to read ${path}: ${(error as Error).message}`)
  }
}

/** By the words that call for each. Without any word it is `status`. */
const actions: Readonly<Record<string, Action>> = {
  list: { usage: '', help: 'List networks', least: 0, most: 0, run: list },
  status: { usage: '[NETWORK]', help: 'Show a network', least: 0, most: 1, run: status },
  leases: { usage: '', help: 'List which name has which addresses', least: 0, most: 0, run: leases },
  'set-lease': {
    usage: 'NAME ADDRESS...',
    help: 'Give a name an address of each family, or of one',
    least: 2,
    most: 3,
    run: setLease
  },
  forward: { usage: '', help: 'List ports of the host that lead into machines', least: 0, most: 0, run: listForwards },
  'forward add': {
    usage: 'NAME LISTEN [PORT]',
    help: 'Lead a port, [tcp|udp:][ADDRESS:]PORT[-PORT], into a machine',
    least: 2,
    most: 3,
    run: addForward
  },
  'forward remove': {
    usage: 'NAME LISTEN',
    help: 'End that',
    least: 2,
    most: 2,
    run: removeForward
  },
  'take-down': { usage: '', help: 'Remove bridges and rules when no machine runs', least: 0, most: 0, run: takeDown },
  'cat-config': { usage: '', help: 'Show the configuration files that were read', least: 0, most: 0, run: showConfig }
}

/** Lines of the help: the words, and what they do. */
export const networkHelp: readonly (readonly [usage: string, help: string])[] = Object.entries(actions).map(
  ([words, { usage, help }]) => [`${words} ${usage}`.trimEnd(), help]
)

/** `network [WORD...]`; throws Failure. */
export async function network(call: Call): Promise<void> {
  const [first = 'status', second] = call.args
  const pair = `${first} ${second ?? ''}`
  const words = second !== undefined && Object.hasOwn(actions, pair) ? pair : first
  const action = Object.hasOwn(actions, words) ? actions[words] : undefined
  if (action === undefined) throw new Failure(`Unknown command verb 'network ${first}'.`)
  const args = call.args.slice(words.split(' ').length)
  if (first === 'forward' && words === first && second !== undefined) {
    throw new Failure(`Unknown command verb 'network forward ${second}'.`)
  }
  if (args.length < action.least) throw new Failure('Too few arguments.')
  if (args.length > action.most) throw new Failure('Too many arguments.')
  await action.run({ ...call, args })
}

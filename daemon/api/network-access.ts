import { MachinedError } from '../base/errors.ts'
import { parseIp } from '../base/prefix.ts'
import { isValidMachineName } from '../machine/machine-name.ts'
import type { Manager } from '../manager.ts'
import { readForward } from '../network/forward-text.ts'
import type { NetworkView } from '../network/network.ts'
import type { NetworksDescription } from '../network/networks.ts'
import type { AccessRule } from './access.ts'

/*
 * What io.machined.Network does, on either wire. Changing a network is for administrators; anyone may look.
 */

/** What polkit is asked for a change; with the name of the machine where it is about one. */
export function networkRule(verb: string, machine = ''): AccessRule<'manage-machines'> {
  return { action: 'manage-machines', details: { machine, verb } }
}

/** All networks, and on top of that what the default one is, as before there were others. */
export interface NetworkDescription extends Omit<NetworkView, 'name'> {
  readonly backend: NetworksDescription['backend']
  readonly managed: boolean
  /** Whether systemd-networkd runs on the host. */
  readonly networkd: boolean
  readonly networks: readonly NetworkView[]
}

/** What there is, for people and programs to look at; `machines` on top are those of all networks. */
export function describeNetworks({ networks }: Manager): NetworkDescription {
  const { default: first, others, backend, managed, networkd } = networks.describe()
  const all = [first, ...others]
  const { bridge, subnet4, subnet6, conflict, files } = first
  const machines = all.flatMap((network) => network.machines)
  return { bridge, backend, managed, networkd, subnet4, subnet6, conflict, machines, files, networks: all }
}

/** Gives a name addresses, of which "" stands for one that stays. Throws InvalidArgs, and as Networks.setLease does. */
export async function setLease({ networks }: Manager, name: string, ip4: string, ip6: string): Promise<void> {
  await networks.setLease(validName(name), { ip4: readAddress(ip4, 4), ip6: readAddress(ip6, 16) })
}

/** Throws InvalidArgs, and as Networks.addForward does. */
export async function addForward({ networks }: Manager, name: string, listen: string, target: string): Promise<void> {
  await networks.addForward(readForward(validName(name), listen, target))
}

function validName(name: string): string {
  if (!isValidMachineName(name)) throw new MachinedError('InvalidArgs', `Invalid machine name '${name}'`)
  return name
}

function readAddress(text: string, bytes: number): Buffer | undefined {
  if (text === '') return undefined
  const address = parseIp(text)
  if (address?.length === bytes) return address
  throw new MachinedError('InvalidArgs', `Invalid IPv${bytes === 4 ? '4' : '6'} address '${text}'`)
}
